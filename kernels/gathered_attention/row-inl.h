// What gathered attention's forward and backward share. Lanes are features: every query has keys of its own, so there
// is nothing that neighbouring queries could share in a vector. Products with a vector's lanes of keys end together.
#if defined(SUBQUAD_KERNELS_GATHERED_ATTENTION_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_GATHERED_ATTENTION_ROW_INL_H_
#undef SUBQUAD_KERNELS_GATHERED_ATTENTION_ROW_INL_H_
#else
#define SUBQUAD_KERNELS_GATHERED_ATTENTION_ROW_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstdint>
#include <vector>

#include "subquad/kernels/attention/strip-inl.h"
#include "subquad/kernels/gathered_attention/slots.h"
#include "subquad/kernels/simd/heads.h"
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// Rows of `width` numbers, whole vectors.
template <class T>
struct Rows {
  const T* data;
  Index step, width;

  const T* operator[](Index i) const { return data + i * step; }
};

template <class T>
HWY_INLINE T RowDot(const T* a, const T* b, Index width) {
  const Vector<T> d;
  auto sum = hn::Zero(d);
  ForVectors(d, width,
             [&](Index e, auto lanes) HWY_ATTR { sum = hn::MulAdd(lanes.Load(a + e), lanes.Load(b + e), sum); });
  return SumLanes(d, sum);
}

// The live slots of one query, one after the other.
template <class T>
class LiveSlots {
 public:
  explicit LiveSlots(Index slots)
      : keys_(static_cast<std::size_t>(WholeVectors<T>(slots)) + 1), numbers_(static_cast<std::size_t>(slots)) {}

  // Those of query i, none where it is skipped. Asks for what a later query needs of the index.
  void find(const Slots& slots, Index i) {
    constexpr Index kAhead = 4, kLine = 64 / sizeof(Index);
    for (Index t = 0; i + kAhead < slots.queries && t < slots.count; t += kLine)
      hwy::Prefetch(slots.index + (i + kAhead) * slots.count + t);
    count_ = 0;
    all_ = !slots.skipped(i) && slots.all_live(i);
    if (all_) {
      std::copy_n(slots.index + i * slots.count, slots.count, keys_.data());
      count_ = slots.count;
    } else if (!slots.skipped(i)) {
      for (Index t = 0; t < slots.count; ++t)
        if (const Index j = slots.key(i, t); j >= 0) {
          keys_[static_cast<std::size_t>(count_)] = j;
          numbers_[static_cast<std::size_t>(count_++)] = t;
        }
    }
    std::fill_n(keys_.data() + count_, WholeVectors<T>(count_) - count_, count_ > 0 ? keys_[0] : 0);
  }

  Index count() const { return count_; }
  const Index* keys() const { return keys_.data(); }  // in whole vectors: filled up with one of them
  Index number(Index a) const { return all_ ? a : numbers_[static_cast<std::size_t>(a)]; }

 private:
  std::vector<Index> keys_, numbers_;
  Index count_ = 0;
  bool all_ = false;
};

// The rows of one head of a tensor: where they stand if they are whole vectors, else a copy that is filled up with
// zeros.
template <class T>
class HeadRows {
 public:
  // A row i of no `used` is not read.
  template <class F>
  HeadRows(View<const T, 4> x, Index b, Index h, const F& used)
      : in_place_(x.dim(3) % kLanes<T> == 0),
        copy_(in_place_ ? 0 : x.dim(2) * WholeVectors<T>(x.dim(3))),
        rows_{in_place_ ? x.data() + b * x.stride(0) + h * x.stride(1) : copy_.data(),
              in_place_ ? x.stride(2) : WholeVectors<T>(x.dim(3)), WholeVectors<T>(x.dim(3))} {
    if (in_place_) return;
    parallel_chunks(x.dim(2), 512, rows_.width, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i)
        if (used(i)) PackRow(&x(b, h, i, 0), x.dim(3), T(1), copy_.data() + i * rows_.step);
    });
  }

  const Rows<T>& rows() const { return rows_; }
  const T* operator[](Index i) const { return rows_[i]; }

 private:
  bool in_place_;
  Buffer<T> copy_;
  Rows<T> rows_;
};

// Asks for a row that will be read soon: rows that slots name lie anywhere, so that no prefetcher of the processor sees
// them coming. Of a long row it asks for the beginning, which shows where the rest is.
template <class T>
HWY_INLINE void PrefetchRow(const Rows<T>& rows, Index i) {
  constexpr Index kLine = 64 / sizeof(T), kMost = 4 * kLine;
  for (Index c = 0; c < std::min(rows.width, kMost); c += kLine) hwy::Prefetch(rows[i] + c);
}

// Are rows of two tensors, one of each per position, worth asking for? Below, what the processor has in flight on its
// own is enough: at 256 KiB asking makes a pass a fifth slower, at 1 MiB it changes nothing, at 4 MiB it makes
// backward 8 % faster (Zen 5 with 1 MiB of L2).
template <class T>
bool WorthPrefetching(Index count, const Rows<T>& first, const Rows<T>& second) {
  return count * (first.width + second.width) * static_cast<Index>(sizeof(T)) > Index{2} << 20;
}

// logits[t] = scale row . rows[keys[t]] for t < count, in whole vectors: of keys, too. Rows of kVectors vectors, 0 = of
// any number: with a number `row` stays in registers.
template <int kVectors, class T>
HWY_NOINLINE void RowLogitsOf(const T* row, Rows<T> rows, const Index* keys, Index count, T scale, T* logits) {
  const Vector<T> d;
  const Index width = kVectors > 0 ? kVectors * kLanes<T> : rows.width;
  for (Index t = 0; t < count; t += kLanes<T>) {
    hn::Vec<Vector<T>> inside[kBlocksOf<T>];
    for (Index g = 0; g < kBlocksOf<T>; ++g) {
      hn::Vec<Vector<T>> sums[kPerBlock<T>];
      for (Index r = 0; r < kPerBlock<T>; ++r) {
        const T* other = rows[keys[t + g * kPerBlock<T> + r]];
        sums[r] = hn::Zero(d);
        for (Index e = 0; e < width; e += kLanes<T>)
          sums[r] = hn::MulAdd(hn::LoadU(d, row + e), hn::LoadU(d, other + e), sums[r]);
      }
      inside[g] = AddInsideBlocks(d, sums);
    }
    hn::Store(hn::Mul(hn::Set(d, scale), AddBlocksOf(d, inside)), d, logits + t);
  }
}

// By the same steps in forward and in backward, so that the bits are the same.
template <class T>
HWY_INLINE void RowLogits(const T* row, const Rows<T>& rows, const Index* keys, Index count, T scale, T* logits) {
  switch (rows.width / kLanes<T>) {
    case 1: return RowLogitsOf<1>(row, rows, keys, count, scale, logits);
    case 2: return RowLogitsOf<2>(row, rows, keys, count, scale, logits);
    case 4: return RowLogitsOf<4>(row, rows, keys, count, scale, logits);
    default: return RowLogitsOf<0>(row, rows, keys, count, scale, logits);
  }
}

// kVectors vectors of WeightedSum from `c` on.
template <bool kAdd, int kVectors, class Lanes, class T>
HWY_INLINE void WeightedVectors(const Lanes& lanes, const T* weights, const Index* keys, Index count, Rows<T> rows,
                                Index c, T scale, T* out) {
  const Vector<T> d;
  constexpr int kChains = 4;  // so that one waits less for the last
  hn::Vec<Vector<T>> sum[kChains][kVectors];
  for (auto& chain : sum)
    for (auto& one : chain) one = hn::Zero(d);
  const auto add = [&](int chain, Index t) HWY_ATTR {
    const auto weight = hn::Set(d, weights[t]);
    const T* row = rows[keys[t]] + c;
    for (int v = 0; v < kVectors; ++v)
      sum[chain][v] = hn::MulAdd(weight, hn::LoadU(d, row + v * kLanes<T>), sum[chain][v]);
  };
  Index t = 0;
  for (; t + kChains <= count; t += kChains)
    for (int chain = 0; chain < kChains; ++chain) add(chain, t + chain);
  for (; t < count; ++t) add(0, t);
  for (int v = 0; v < kVectors; ++v) {
    T* to = out + c + v * kLanes<T>;
    const auto all = hn::Add(hn::Add(sum[0][v], sum[1][v]), hn::Add(sum[2][v], sum[3][v]));
    lanes.Store(kAdd ? hn::MulAdd(all, hn::Set(d, scale), lanes.Load(to)) : hn::Mul(all, hn::Set(d, scale)), to);
  }
}

// out[c] (+)= scale sum_t weights[t] rows[keys[t]][c] for c < width; four sums take turns.
template <bool kAdd, class T>
HWY_NOINLINE void WeightedSum(const T* weights, const Index* keys, Index count, Rows<T> rows, Index width, T scale,
                              T* out) {
  Index c = 0;
  for (; c + kStrip<T> <= width; c += kStrip<T>)
    WeightedVectors<kAdd, 2>(WholeVector<Vector<T>>(), weights, keys, count, rows, c, scale, out);
  ForVectors(Vector<T>(), width - c, [&](Index more, auto lanes) HWY_ATTR {
    WeightedVectors<kAdd, 1>(lanes, weights, keys, count, rows, c + more, scale, out);
  });
}

// Asks for the rows of a query's keys.
template <class T>
HWY_INLINE void PrefetchKeys(const Slots& slots, Index i, const Rows<T>& k, const Rows<T>& v) {
  if (i >= slots.queries || slots.skipped(i)) return;
  for (Index t = 0; t < slots.count; ++t)
    if (const Index j = slots.key(i, t); j >= 0) {
      PrefetchRow(k, j);
      PrefetchRow(v, j);
    }
}

inline constexpr Index kQueriesPerTask = 64;

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
