#include "subquad/kernels/top_k/cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/core/prefix_mask.h"

namespace subquad::kernels {
namespace {

template <class T>
struct Candidate {
  T value;
  Index index;

  friend bool operator<(const Candidate& a, const Candidate& b) {  // a comes before b
    return a.value > b.value || (a.value == b.value && a.index < b.index);
  }
};

// The best `k` of x[begin, end), in no order. What does not beat the k-th best so far is dropped at once: a later equal
// element loses, so that `>` decides. The rest is collected, and cut to the k best whenever it fills the buffer.
template <class T>
std::vector<Candidate<T>> best(const char* op, Index row, const T* x, Index begin, Index end, Index k) {
  std::vector<Candidate<T>> kept;
  if (k == 0) return kept;
  const auto capacity = static_cast<std::size_t>(2 * k + 64);
  kept.reserve(capacity);
  const auto cut = [&] {
    if (static_cast<Index>(kept.size()) <= k) return;
    std::nth_element(kept.begin(), kept.begin() + k - 1, kept.end());
    kept.resize(static_cast<std::size_t>(k));
  };
  T bar = 0;
  bool has_bar = false;
  for (Index i = begin; i < end; ++i) {
    if (std::isnan(x[i])) throw Error(cat(op, ": element ", i, " of row ", row, " is NaN, expected numbers"));
    if (has_bar && !(x[i] > bar)) continue;
    kept.push_back({x[i], i});
    if (kept.size() < capacity) continue;
    cut();
    bar = kept.back().value;
    has_bar = true;
  }
  cut();
  return kept;
}

}  // namespace

void cpu::top_k(const Tensor& x, TopK& out) {
  const Index width = x.dim(-1), k = out.indices.dim(-1);
  if (out.indices.size() == 0) return;
  visit_float("top_k", x.dtype(), [&]<class T>(Type<T>) {
    parallel_for(
        x.size() / width, 2 * width,
        [&, from = x.data<T>(), values = out.values.data<T>(), indices = out.indices.data<Index>()](Index row) {
          std::vector<Candidate<T>> kept = best("top_k", row, from + row * width, 0, width, k);
          std::sort(kept.begin(), kept.end());
          for (Index s = 0; s < k; ++s) {
            values[row * k + s] = kept[static_cast<std::size_t>(s)].value;
            indices[row * k + s] = kept[static_cast<std::size_t>(s)].index;
          }
        });
  });
}

void cpu::top_k_grad(const Tensor& dvalues, const Tensor& indices, Tensor& dx) {
  const Index width = dx.dim(-1), k = indices.dim(-1);
  if (indices.size() == 0) return;
  visit_float("top_k_grad", dx.dtype(), [&]<class T>(Type<T>) {
    const T* up = dvalues.data<T>();
    const Index* at = indices.data<Index>();
    T* to = dx.data<T>();
    for (Index i = 0; i < indices.size(); ++i) {
      if (at[i] < 0 || at[i] >= width)
        throw Error(cat("top_k_grad: indices holds ", at[i], ", expected 0 to ", width - 1));
      to[i / k * width + at[i]] += up[i];
    }
  });
}

void cpu::choose_top_k(const Tensor& keys, Index window, const Mask& mask, Tensor& chosen) {
  const Index heads = keys.dim(1), positions = keys.dim(2), k = chosen.dim(2);
  visit_float("choose_top_k", keys.dtype(), [&]<class T>(Type<T>) {
    parallel_for(keys.dim(0) * heads, 2 * positions, [&, from = keys.data<T>(), to = chosen.data<Index>()](Index row) {
      const Index n = prefix_length(mask, row / heads, positions), count = std::min(k, n);
      Index* out = to + row * k;
      // The forced ones are [0, window] and the last `window` below n: what is left to choose from lies in between.
      const Index begin = std::min(window + 1, n), end = std::max(begin, n - std::max<Index>(window, 0));
      for (Index i = 0; i < begin; ++i) *out++ = i;
      std::vector<Candidate<T>> kept =
          best("choose_top_k", row, from + row * positions, begin, end, count - begin - (n - end));
      for (const Candidate<T>& c : kept) *out++ = c.index;
      for (Index i = end; i < n; ++i) *out++ = i;
      std::sort(out - count, out);
      std::fill(out, to + (row + 1) * k, -1);
    });
  });
}

}  // namespace subquad::kernels
