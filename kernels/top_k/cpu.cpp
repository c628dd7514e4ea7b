#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/top_k/cpu.cpp"
#include "subquad/kernels/top_k/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/core/prefix_mask.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

template <class T>
using Lanes = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Lanes<T>()));

template <class T>
struct Kept {
  T value;
  Index index;
};

[[noreturn]] void ThrowNan(const char* op, Index row, Index element) {
  throw NanError(cat(op, ": element ", element, " of row ", row, " is NaN, expected numbers"));
}

// A number that at least k of x[0, count) reach, 1 <= k, quickly: each of `groups` * lanes groups of elements is as
// large as its maximum, so the k-th largest of these maxima is such a number. -inf when there are too few elements for
// that to pay.
template <class T>
T Bar(const T* x, Index count, Index k, std::vector<T>& maxima) {
  const Lanes<T> d;
  const Index groups = (2 * k + kLanes<T> - 1) / kLanes<T>, step = groups * kLanes<T>;
  if (count < 4 * step) return -std::numeric_limits<T>::infinity();
  maxima.resize(static_cast<std::size_t>(step));
  for (Index first = 0; first < step; first += kLanes<T>) {
    auto top = hn::LoadU(d, x + first);
    for (Index i = first + step; i + kLanes<T> <= count; i += step) top = hn::Max(top, hn::LoadU(d, x + i));
    hn::StoreU(top, d, maxima.data() + first);
  }
  std::nth_element(maxima.begin(), maxima.begin() + k - 1, maxima.end(), std::greater<T>());
  return maxima[static_cast<std::size_t>(k - 1)];
}

// Calls f(i) for every i < count with x[i] >= bar, rising.
template <class T, class F>
HWY_INLINE void ForReaching(const T* x, Index count, T bar, const F& f) {
  const Lanes<T> d;
  const auto bars = hn::Set(d, bar);
  Index i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) {
    const auto reaches = hn::Ge(hn::LoadU(d, x + i), bars);
    if (hn::AllFalse(d, reaches)) continue;
    for (Index lane = 0; lane < kLanes<T>; ++lane)
      if (x[i + lane] >= bar) f(i + lane);
  }
  for (; i < count; ++i)
    if (x[i] >= bar) f(i);
}

template <class T>
Index FirstNan(const T* x, Index count) {  // or count
  const Lanes<T> d;
  Index i = 0;
  while (i + kLanes<T> <= count && hn::AllTrue(d, hn::Eq(hn::LoadU(d, x + i), hn::LoadU(d, x + i)))) i += kLanes<T>;
  while (i < count && x[i] == x[i]) ++i;
  return i;
}

// Best for one row after the other; keeps its memory.
template <class T>
class Chooser {
 public:
  explicit Chooser(const char* op) : op_(op) {}

  // The min(k, end - begin) best of x[begin, end), in the order of their indices.
  const std::vector<Kept<T>>& Best(Index row, const T* x, Index begin, Index end, Index k) {
    const Index nan = begin + FirstNan(x + begin, end - begin);
    if (nan < end) ThrowNan(op_, row, nan);
    kept_.clear();
    if (k <= 0) return kept_;
    ForReaching(x + begin, end - begin, Bar(x + begin, end - begin, k, values_), [&](Index i) {
      kept_.push_back({x[begin + i], begin + i});
    });
    if (static_cast<Index>(kept_.size()) > k) Cut(k);
    return kept_;
  }

 private:
  // What is larger than the k-th largest stays, and of its equals the first ones that there is room for.
  void Cut(Index k) {
    values_.clear();
    for (const Kept<T>& c : kept_) values_.push_back(c.value);
    std::nth_element(values_.begin(), values_.begin() + k - 1, values_.end(), std::greater<T>());
    const T last = values_[static_cast<std::size_t>(k - 1)];
    Index room = k;
    for (const Kept<T>& c : kept_) room -= c.value > last ? 1 : 0;
    std::erase_if(kept_, [&](const Kept<T>& c) { return !(c.value > last) && (c.value < last || room-- <= 0); });
  }

  const char* op_;
  std::vector<T> values_;
  std::vector<Kept<T>> kept_;
};

constexpr Index kRows = 8;  // per task: they share a Chooser

template <class T>
void TopKRows(const T* x, Index rows, Index width, Index k, T* values, Index* indices) {
  parallel_chunks(rows, kRows, 2 * width, [=](Index begin, Index end) HWY_ATTR {
    Chooser<T> chooser("top_k");
    for (Index row = begin; row < end; ++row) {
      std::vector<Kept<T>> kept = chooser.Best(row, x + row * width, 0, width, k);
      std::sort(kept.begin(), kept.end(), [](const Kept<T>& a, const Kept<T>& b) {
        return a.value > b.value || (a.value == b.value && a.index < b.index);
      });
      for (Index s = 0; s < k; ++s) {
        values[row * k + s] = kept[static_cast<std::size_t>(s)].value;
        indices[row * k + s] = kept[static_cast<std::size_t>(s)].index;
      }
    }
  });
}

// One row of n keys: min(k, n) indices in rising order, then -1.
template <class T>
void ChooseRow(Chooser<T>& chooser, Index row, const T* keys, Index n, Index k, Index window, Index* out) {
  // The forced ones are [0, window] and the last `window` below n: what is left to choose from lies in between.
  const Index begin = std::min(window + 1, n), end = std::max(begin, n - std::max<Index>(window, 0));
  Index* const stop = out + k;
  for (Index i = 0; i < begin; ++i) *out++ = i;
  for (const Kept<T>& c : chooser.Best(row, keys, begin, end, std::min(k, n) - begin - (n - end))) *out++ = c.index;
  for (Index i = end; i < n; ++i) *out++ = i;
  std::fill(out, stop, Index{-1});
}

}  // namespace

void TopKTensor(const Tensor& x, TopK& out) {
  const Index width = x.dim(-1), k = out.indices.dim(-1);
  if (out.indices.size() == 0) return;
  visit_float("top_k", x.dtype(), [&]<class T>(Type<T>) {
    TopKRows(x.data<T>(), x.size() / width, width, k, out.values.data<T>(), out.indices.data<Index>());
  });
}

void ChooseTopK(const Tensor& keys, Index window, const Mask& mask, Tensor& chosen) {
  const Index heads = keys.dim(1), positions = keys.dim(2), k = chosen.dim(2);
  visit_float("choose_top_k", keys.dtype(), [&]<class T>(Type<T>) {
    const T* from = keys.data<T>();
    Index* to = chosen.data<Index>();
    parallel_chunks(keys.dim(0) * heads, kRows, 2 * positions, [&](Index begin, Index end) HWY_ATTR {
      Chooser<T> chooser("choose_top_k");
      for (Index row = begin; row < end; ++row)
        ChooseRow(chooser, row, from + row * positions, prefix_length(mask, row / heads, positions), k, window,
                  to + row * k);
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(TopKTensor);
HWY_EXPORT(ChooseTopK);

namespace cpu {

void top_k(const Tensor& x, TopK& out) {
  SUBQUAD_DISPATCH(TopKTensor)(x, out);
}

void choose_top_k(const Tensor& keys, Index window, const Mask& mask, Tensor& chosen) {
  SUBQUAD_DISPATCH(ChooseTopK)(keys, window, mask, chosen);
}

void top_k_grad(const Tensor& dvalues, const Tensor& indices, Tensor& dx) {
  const Index width = dx.dim(-1), k = indices.dim(-1);
  visit_float("top_k_grad", dx.dtype(), [&]<class T>(Type<T>) {
    const T* up = dvalues.data<T>();
    const Index* at = indices.data<Index>();
    T* to = dx.data<T>();
    std::fill_n(to, dx.size(), T(0));
    for (Index i = 0; i < indices.size(); ++i) {
      if (at[i] < 0 || at[i] >= width)
        throw Error(cat("top_k_grad: indices holds ", at[i], ", expected 0 to ", width - 1));
      to[i / k * width + at[i]] += up[i];
    }
  });
}

}  // namespace cpu
}  // namespace subquad::kernels

#endif  // HWY_ONCE
