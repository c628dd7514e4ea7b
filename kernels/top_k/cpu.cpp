#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/top_k/cpu.cpp"
#include "subquad/kernels/top_k/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>
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
inline constexpr T kNothing = -std::numeric_limits<T>::infinity();

template <class T>
Index CountReaching(const T* values, Index vectors, T bar) {
  const Lanes<T> d;
  const auto bars = hn::Set(d, bar);
  std::size_t sum = 0;
  for (Index v = 0; v < vectors; ++v) sum += hn::CountTrue(d, hn::Ge(hn::Load(d, values + v * kLanes<T>), bars));
  return static_cast<Index>(sum);
}

// A number that k of the values reach, k + more of them at most unless they are equal: by bisection, at first between
// numbers, which takes few steps where they lie about evenly, then between their integers, of which there are not many.
template <class T>
T ReachedBy(const T* values, Index vectors, Index k, Index more) {
  const Lanes<T> d;
  const auto infinite = hn::Set(d, -kNothing<T>);
  auto least = infinite, most = hn::Neg(infinite);
  for (Index v = 0; v < vectors; ++v) {
    const auto some = hn::Load(d, values + v * kLanes<T>);
    most = hn::Max(most, some);
    least = hn::Min(least, hn::IfThenElse(hn::Eq(some, hn::Neg(infinite)), infinite, some));
  }
  Ordered<T> low = ToOrdered(kNothing<T>);                               // reached by k
  Ordered<T> high = ToOrdered(hn::GetLane(hn::MaxOfLanes(d, most)));     // by k only where it is low
  Ordered<T> middle = ToOrdered(hn::GetLane(hn::MinOfLanes(d, least)));  // of the finite ones
  for (int step = 0; low < high; ++step) {
    constexpr int kBetweenNumbers = 8;
    if (step > 0) middle = ToOrdered(FromOrdered<T>(low) / 2 + FromOrdered<T>(high) / 2);
    if (step > kBetweenNumbers || middle <= low || middle > high) {
      using Distance = std::make_unsigned_t<Ordered<T>>;
      const Distance distance = static_cast<Distance>(high) - static_cast<Distance>(low);
      middle = static_cast<Ordered<T>>(static_cast<Distance>(low) + distance / 2 + distance % 2);
    }
    const Index count = CountReaching(values, vectors, FromOrdered<T>(middle));
    if (count < k) {
      high = middle - 1;
    } else {
      low = middle;
      if (count <= k + more) break;
    }
  }
  return FromOrdered<T>(low);
}

// Numbers on a cache line, used again row after row.
template <class T>
class Buffer {
 public:
  T* data() const { return data_; }
  void reserve(Index size) {  // what it held is lost where it must grow
    if (data_ != nullptr && size <= memory_.size()) return;
    memory_ = empty({static_cast<Index>(std::bit_ceil(static_cast<std::size_t>(size)))}, dtype_of<T>(), kCpu);
    data_ = memory_.data<T>();
  }

 private:
  Tensor memory_;
  T* data_ = nullptr;
};

// Behind the last number that is kept there is room for so many.
template <class T>
inline constexpr Index kSlack = 4 * kLanes<T>;

// What is kept of a row, by rising indices.
template <class T>
struct Kept {
  Index count = 0;
  Buffer<T> value;            // and -inf kSlack times
  Buffer<Ordered<T>> offset;  // in what was chosen from
};

// Best for one row after the other; keeps its memory.
template <class T>
class Chooser {
 public:
  explicit Chooser(const char* op) : op_(op) {}

  // The min(k, end - begin) best of x[begin, end), their offsets from begin.
  const Kept<T>& Best(Index row, const T* x, Index begin, Index end, Index k) {
    return BestAndMore(row, x, begin, end, k, std::max<Index>(k, 0));
  }

  // The same, and some that are not better than these where there are no more than `most` altogether.
  const Kept<T>& BestAndMore(Index row, const T* x, Index begin, Index end, Index k, Index most) {
    const Index count = end - begin, whole = count / kBlock;
    if (count > std::numeric_limits<Ordered<T>>::max() - kBlock)
      throw Error(cat(op_, ": a row has ", count, " elements, expected fewer than 2^31 in float32 on a CPU"));
    std::fill(std::copy(x + begin + whole * kBlock, x + end, end_), end_ + kBlock, kNothing<T>);
    const Blocks blocks = {x + begin, end_, whole, (count + kBlock - 1) / kBlock};
    if (MayHoldNan(blocks)) ThrowWhereNan(row, x, begin, end);
    kept_.count = 0;
    if (k <= 0) return kept_;
    Collect(blocks, count, Bar(blocks.count, k));
    if (kept_.count > std::max(k, most)) Cut(k);
    return kept_;
  }

 private:
  static constexpr Index kVectors = 4, kBlock = kVectors * kLanes<T>;  // of elements

  struct Blocks {  // of a row: its own, and a copy of its end with -inf behind it
    const T *x, *end;
    Index whole, count;
    HWY_INLINE const T* operator[](Index block) const { return block < whole ? x + block * kBlock : end; }
  };

  // Reads the row once. tops_ gets a vector for each block: its lanes are maxima of the block's lanes. A NaN would make
  // the sum of its lane one, and so may infinities.
  bool MayHoldNan(const Blocks& blocks) {
    const Lanes<T> d;
    tops_.reserve((blocks.count + blocks.count / 2) * kLanes<T>);
    T* const tops = tops_.data();
    auto sum = hn::Zero(d);
    for (Index block = 0; block < blocks.count; ++block) {
      const T* from = blocks[block];
      const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + kLanes<T>);
      const auto c = hn::LoadU(d, from + 2 * kLanes<T>), e = hn::LoadU(d, from + 3 * kLanes<T>);
      hn::Store(hn::Max(hn::Max(a, b), hn::Max(c, e)), d, tops + block * kLanes<T>);
      sum = hn::Add(sum, hn::Add(hn::Add(a, b), hn::Add(c, e)));
    }
    return !hn::AllTrue(d, hn::Eq(sum, sum));
  }

  void ThrowWhereNan(Index row, const T* x, Index begin, Index end) const {
    for (Index i = begin; i < end; ++i)
      if (x[i] != x[i]) throw NanError(cat(op_, ": element ", i, " of row ", row, " is NaN, expected numbers"));
  }

  // A number that at least k elements reach, and not many more, quickly: a group of elements is as large as its
  // maximum, so what k of the maxima reach is such a number. -inf where there are fewer groups.
  T Bar(Index blocks, Index k) {
    if (blocks * kLanes<T> < k) return kNothing<T>;
    const Lanes<T> d;
    const Index vectors = (4 * k + kLanes<T> - 1) / kLanes<T>, more = k / 8;
    const T* const tops = tops_.data();
    if (blocks < 2 * vectors) return ReachedBy(tops, blocks, k, more);
    T* const groups = tops_.data() + blocks * kLanes<T>;  // half as many at most
    for (Index v = 0; v < vectors; ++v) {
      auto top = hn::Load(d, tops + v * kLanes<T>);
      for (Index block = v + vectors; block < blocks; block += vectors)
        top = hn::Max(top, hn::Load(d, tops + block * kLanes<T>));
      hn::Store(top, d, groups + v * kLanes<T>);
    }
    return ReachedBy(groups, vectors, k, more);
  }

  // Keeps what reaches the bar. No branch depends on where that is: each block is written down, and the next one in its
  // place unless something reaches the bar there; then each element of these blocks likewise.
  void Collect(const Blocks& blocks, Index count, T bar) {
    const Lanes<T> d;
    const hn::RebindToSigned<Lanes<T>> di;
    const auto lane = hn::Iota(di, 0);
    const auto bars = hn::Set(d, bar);
    reaching_.reserve(blocks.count);
    const T* const tops = tops_.data();
    Index* const reaching = reaching_.data();
    Index reached = 0;
    for (Index block = 0; block < blocks.count; ++block) {
      reaching[reached] = block;
      reached += hn::AllFalse(d, hn::Ge(hn::Load(d, tops + block * kLanes<T>), bars)) ? 0 : 1;
    }
    kept_.value.reserve(reached * kBlock + kSlack<T>);
    kept_.offset.reserve(reached * kBlock + kSlack<T>);
    T* const values = kept_.value.data();
    Ordered<T>* const offsets = kept_.offset.data();
    Index kept = 0;
    for (Index r = 0; r < reached; ++r) {
      const T* from = blocks[reaching[r]];
      const Index first = reaching[r] * kBlock;
      auto at = hn::Add(lane, hn::Set(di, static_cast<Ordered<T>>(first)));
      for (Index e = 0; e < kBlock; e += kLanes<T>) {
        kept = Append(hn::Ge(hn::LoadU(d, from + e), bars), at, first + e, offsets, kept);
        at = hn::Add(at, hn::Set(di, kLanes<T>));
      }
    }
    while (kept > 0 && offsets[kept - 1] >= count) --kept;  // -inf behind the row's end
    for (Index c = 0; c < kept; ++c) values[c] = blocks.x[offsets[c]];
    End(kept);
  }

  // to[kept ...] = the offsets, rising from `first`, of the lanes where the mask is true; returns how many are kept
  // then. Highway 1.0.3's Compress copies a table of 1 KB at each call where the processor has no instruction for it.
  HWY_INLINE static Index Append(hn::Mask<Lanes<T>> mask, hn::Vec<hn::RebindToSigned<Lanes<T>>> offsets, Index first,
                                 Ordered<T>* to, Index kept) {
    const Lanes<T> d;
    if constexpr (HWY_TARGET <= HWY_AVX3) {
      const hn::RebindToSigned<Lanes<T>> di;
      hn::StoreU(hn::Compress(offsets, hn::RebindMask(di, mask)), di, to + kept);
      kept += static_cast<Index>(hn::CountTrue(d, mask));
    } else {
      std::uint8_t bytes[8] = {};
      hn::StoreMaskBits(d, mask, bytes);
      for (unsigned bits = bytes[0]; bits != 0; bits &= bits - 1)
        to[kept++] = static_cast<Ordered<T>>(first + std::countr_zero(bits));
    }
    return kept;
  }

  void End(Index count) {
    kept_.count = count;
    std::fill_n(kept_.value.data() + count, kSlack<T>, kNothing<T>);
  }

  // What is larger than the k-th largest stays, and of its equals the first ones that there is room for.
  void Cut(Index k) {
    T* const value = kept_.value.data();
    Ordered<T>* const offset = kept_.offset.data();
    const T last = ReachedBy(value, (kept_.count + kLanes<T> - 1) / kLanes<T>, k, 0);
    Index room = k, stay = 0;
    for (Index c = 0; c < kept_.count; ++c) room -= value[c] > last ? 1 : 0;
    for (Index c = 0; c < kept_.count; ++c) {
      const bool equal = value[c] == last, stays = value[c] > last || (equal && room > 0);
      value[stay] = value[c];
      offset[stay] = offset[c];
      room -= equal ? 1 : 0;
      stay += stays ? 1 : 0;
    }
    End(stay);
  }

  const char* op_;
  HWY_ALIGN T end_[kBlock];
  Buffer<T> tops_;          // and behind them the maxima of groups
  Buffer<Index> reaching_;  // blocks
  Kept<T> kept_;
};

constexpr Index kRanked = 256;        // up to here pairs are compared sooner than numbers are sorted
constexpr Index kRankedTogether = 3;  // vectors; kSlack is more

// The k best, the best first.
template <class T>
class Sorter {
 public:
  void Sort(const Kept<T>& kept, Index k, T* values, Index* indices) {
    if (kept.count <= kRanked) {
      Index order[kRanked];
      OrderByRanks(kept, order);
      Write(kept, order, k, values, indices);
    } else {
      order_.reserve(kept.count);
      OrderBySorting(kept, order_.data());
      Write(kept, order_.data(), k, values, indices);
    }
  }

 private:
  static void Write(const Kept<T>& kept, const Index* order, Index k, T* values, Index* indices) {
    for (Index s = 0; s < k; ++s) {
      values[s] = kept.value.data()[order[s]];
      indices[s] = kept.offset.data()[order[s]];
    }
  }

  // By how many values are larger than each of them: a comparison of all pairs, some vectors at a time, that no branch
  // depends on. Equal ones have one number, from which on they take places in their order.
  static void OrderByRanks(const Kept<T>& kept, Index* order) {
    const Lanes<T> d;
    const hn::RebindToSigned<Lanes<T>> di;
    const T* const value = kept.value.data();
    std::uint8_t taken[kRanked] = {};
    for (Index first = 0; first < kept.count; first += kRankedTogether * kLanes<T>) {
      hn::Vec<Lanes<T>> own[kRankedTogether];
      hn::Vec<decltype(di)> larger[kRankedTogether];
      for (Index v = 0; v < kRankedTogether; ++v) {
        own[v] = hn::Load(d, value + first + v * kLanes<T>);
        larger[v] = hn::Zero(di);
      }
      for (Index j = 0; j < kept.count; ++j)
        for (Index v = 0; v < kRankedTogether; ++v) {
          const auto is_larger = hn::RebindMask(di, hn::Gt(hn::Set(d, value[j]), own[v]));
          larger[v] = hn::IfThenElse(is_larger, hn::Add(larger[v], hn::Set(di, 1)), larger[v]);
        }
      HWY_ALIGN Ordered<T> ranks[kRankedTogether * kLanes<T>];
      for (Index v = 0; v < kRankedTogether; ++v) hn::Store(larger[v], di, ranks + v * kLanes<T>);
      for (Index j = first; j < std::min(first + kRankedTogether * kLanes<T>, kept.count); ++j)
        order[ranks[j - first] + taken[ranks[j - first]]++] = j;
    }
  }

  static void OrderBySorting(const Kept<T>& kept, Index* order) {
    std::iota(order, order + kept.count, Index{0});
    const T* const value = kept.value.data();
    std::sort(order, order + kept.count,
              [value](Index a, Index b) { return value[a] > value[b] || (value[a] == value[b] && a < b); });
  }

  Buffer<Index> order_;
};

constexpr Index kRows = 8;  // per task: they share a Chooser

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
  const Kept<T>& best = chooser.Best(row, keys, begin, end, std::min(k, n) - begin - (n - end));
  for (Index c = 0; c < best.count; ++c) *out++ = begin + best.offset.data()[c];
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
    const Index rows = k == 0 ? 0 : indices.size() / k;
    for (Index row = 0; row < rows; ++row, up += k, at += k, to += width)
      for (Index s = 0; s < k; ++s) {
        if (at[s] < 0 || at[s] >= width)
          throw Error(cat("top_k_grad: indices holds ", at[s], ", expected 0 to ", width - 1));
        to[at[s]] += up[s];
      }
  });
}

}  // namespace cpu
}  // namespace subquad::kernels

#endif  // HWY_ONCE
