#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/top_k/cpu.cpp"
#include "subquad/kernels/top_k/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstdint>
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

// Numbers as integers in the same order, and back.
template <class T>
using Ordered = hwy::MakeSigned<T>;
template <class T>
Ordered<T> ToOrdered(T x) {
  const auto bits = std::bit_cast<Ordered<T>>(x);
  return bits < 0 ? bits ^ std::numeric_limits<Ordered<T>>::max() : bits;
}
template <class T>
T FromOrdered(Ordered<T> x) {
  return std::bit_cast<T>(x < 0 ? x ^ std::numeric_limits<Ordered<T>>::max() : x);
}

template <class T>
Index CountReaching(const std::vector<T>& values, T bar) {  // a whole number of vectors
  const Lanes<T> d;
  const auto bars = hn::Set(d, bar);
  std::size_t sum = 0;
  for (std::size_t i = 0; i < values.size(); i += hn::Lanes(d))
    sum += hn::CountTrue(d, hn::Ge(hn::LoadU(d, values.data() + i), bars));
  return static_cast<Index>(sum);
}

// A number that k of the values reach, and not many more: by bisection.
template <class T>
T ReachedBy(const std::vector<T>& values, Index k) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  Ordered<T> low = ToOrdered(*least), high = ToOrdered(*most);  // reached by k; by k only where it is low
  using Distance = std::make_unsigned_t<Ordered<T>>;
  while (low < high) {
    const Distance distance = static_cast<Distance>(high) - static_cast<Distance>(low);
    const auto middle = static_cast<Ordered<T>>(static_cast<Distance>(low) + distance / 2 + distance % 2);
    const Index count = CountReaching(values, FromOrdered<T>(middle));
    if (count < k) {
      high = middle - 1;
    } else {
      low = middle;
      if (count <= k + k / 8) break;
    }
  }
  return FromOrdered<T>(low);
}

// A number that at least k of x[0, count) reach, 1 <= k, quickly: each of `step` groups of elements is as large as its
// maximum, so what k of these maxima reach is such a number. -inf when there are too few elements for
// that to pay.
template <class T>
T Bar(const T* x, Index count, Index k, std::vector<T>& maxima) {
  const Lanes<T> d;
  constexpr Index kTogether = 4 * kLanes<T>;
  const Index step = (2 * k + kTogether - 1) / kTogether * kTogether;
  if (count < 4 * step) return -std::numeric_limits<T>::infinity();
  maxima.resize(static_cast<std::size_t>(step));
  for (Index first = 0; first < step; first += kTogether) {
    hn::Vec<Lanes<T>> top[4];
    for (Index v = 0; v < 4; ++v) top[v] = hn::LoadU(d, x + first + v * kLanes<T>);
    for (Index i = first + step; i + kTogether <= count; i += step)
      for (Index v = 0; v < 4; ++v) top[v] = hn::Max(top[v], hn::LoadU(d, x + i + v * kLanes<T>));
    for (Index v = 0; v < 4; ++v) hn::StoreU(top[v], d, maxima.data() + first + v * kLanes<T>);
  }
  return ReachedBy(maxima, k);
}

// Calls f(i) for every i < count with x[i] >= bar, rising. Few are expected: four vectors are passed over at a time.
template <class T, class F>
HWY_INLINE void ForReaching(const T* x, Index count, T bar, const F& f) {
  const Lanes<T> d;
  const auto bars = hn::Set(d, bar);
  const auto load = [&](Index i) HWY_ATTR { return hn::LoadU(d, x + i); };
  Index i = 0;
  for (; i + 4 * kLanes<T> <= count; i += 4 * kLanes<T>) {
    const auto largest =
        hn::Max(hn::Max(load(i), load(i + kLanes<T>)), hn::Max(load(i + 2 * kLanes<T>), load(i + 3 * kLanes<T>)));
    if (hn::AllFalse(d, hn::Ge(largest, bars))) continue;
    for (Index at = i; at < i + 4 * kLanes<T>; at += kLanes<T>) {
      std::uint8_t bytes[8] = {};
      hn::StoreMaskBits(d, hn::Ge(load(at), bars), bytes);
      for (unsigned bits = bytes[0] | bytes[1] << 8; bits != 0; bits &= bits - 1) f(at + std::countr_zero(bits));
    }
  }
  for (; i < count; ++i)
    if (x[i] >= bar) f(i);
}

template <class T>
Index FirstNan(const T* x, Index count) {  // or count
  const Lanes<T> d;
  const auto no_nan = [&](Index i) HWY_ATTR { return hn::Eq(hn::LoadU(d, x + i), hn::LoadU(d, x + i)); };
  Index i = 0;
  while (i + 4 * kLanes<T> <= count &&
         hn::AllTrue(d, hn::And(hn::And(no_nan(i), no_nan(i + kLanes<T>)),
                                hn::And(no_nan(i + 2 * kLanes<T>), no_nan(i + 3 * kLanes<T>)))))
    i += 4 * kLanes<T>;
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
    return BestAndMore(row, x, begin, end, k, std::max<Index>(k, 0));
  }

  // The same, and some that are not better than these where there are no more than `most` altogether.
  const std::vector<Kept<T>>& BestAndMore(Index row, const T* x, Index begin, Index end, Index k, Index most) {
    const Index nan = begin + FirstNan(x + begin, end - begin);
    if (nan < end) ThrowNan(op_, row, nan);
    kept_.clear();
    if (k <= 0) return kept_;
    ForReaching(x + begin, end - begin, Bar(x + begin, end - begin, k, values_), [&](Index i) {
      kept_.push_back({x[begin + i], begin + i});
    });
    if (static_cast<Index>(kept_.size()) > std::max(k, most)) Cut(k);
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

// How many of the values go before each of them: larger ones, and equal ones in front of it. A comparison of all pairs,
// a vector at a time, that no branch depends on.
template <class T>
void Ranks(const std::vector<Kept<T>>& kept, std::vector<T>& values, std::vector<T>& ranks) {
  const Lanes<T> d;
  const auto count = static_cast<Index>(kept.size()), padded = (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
  values.assign(static_cast<std::size_t>(padded), T(0));
  ranks.resize(static_cast<std::size_t>(padded));
  for (Index c = 0; c < count; ++c) values[static_cast<std::size_t>(c)] = kept[static_cast<std::size_t>(c)].value;
  const T* const value = values.data();
  const auto one = hn::Set(d, T(1)), lane = hn::Iota(d, T(0));
  for (Index first = 0; first < padded; first += kLanes<T>) {
    const auto own = hn::LoadU(d, value + first);
    auto before = hn::Zero(d);
    const auto add = [&](auto mask) HWY_ATTR { before = hn::Add(before, hn::IfThenElseZero(mask, one)); };
    const Index end = std::min(first + kLanes<T>, count);
    for (Index j = 0; j < first; ++j) add(hn::Ge(hn::Set(d, value[j]), own));
    for (Index j = first; j < end; ++j) {
      const auto other = hn::Set(d, value[j]);
      const auto behind = hn::Gt(lane, hn::Set(d, static_cast<T>(j - first)));
      add(hn::Or(hn::Gt(other, own), hn::And(hn::Eq(other, own), behind)));
    }
    for (Index j = end; j < count; ++j) add(hn::Gt(hn::Set(d, value[j]), own));
    hn::StoreU(before, d, ranks.data() + first);
  }
}

constexpr Index kRanked = 256;  // up to here pairs are compared sooner than numbers are sorted

constexpr Index kRows = 8;  // per task: they share a Chooser

// The k best, the best first.
template <class T>
class Sorter {
 public:
  void Sort(const std::vector<Kept<T>>& kept, Index k, T* values, Index* indices) {
    if (static_cast<Index>(kept.size()) > kRanked) return SortMany(kept, k, values, indices);
    Ranks(kept, values_, ranks_);
    for (std::size_t c = 0; c < kept.size(); ++c) {
      const auto rank = static_cast<Index>(ranks_[c]);
      if (rank >= k) continue;
      values[rank] = kept[c].value;
      indices[rank] = kept[c].index;
    }
  }

 private:
  void SortMany(const std::vector<Kept<T>>& kept, Index k, T* values, Index* indices) {
    sorted_ = kept;
    std::sort(sorted_.begin(), sorted_.end(), [](const Kept<T>& a, const Kept<T>& b) {
      return a.value > b.value || (a.value == b.value && a.index < b.index);
    });
    for (Index s = 0; s < k; ++s) {
      values[s] = sorted_[static_cast<std::size_t>(s)].value;
      indices[s] = sorted_[static_cast<std::size_t>(s)].index;
    }
  }

  std::vector<T> values_, ranks_;
  std::vector<Kept<T>> sorted_;
};

template <class T>
void TopKRows(const T* x, Index rows, Index width, Index k, T* values, Index* indices) {
  parallel_chunks(rows, kRows, 2 * width, [=](Index begin, Index end) HWY_ATTR {
    Chooser<T> chooser("top_k");
    Sorter<T> sorter;
    for (Index row = begin; row < end; ++row)
      sorter.Sort(chooser.BestAndMore(row, x + row * width, 0, width, k, kRanked), k, values + row * k,
                  indices + row * k);
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
