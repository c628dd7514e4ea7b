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

#include "subquad/kernels/attention/strip-inl.h"
#include "subquad/kernels/gathered_attention/slots.h"
#include "subquad/kernels/simd/heads.h"
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// The rows of one head.
template <class T>
struct HeadRows {
  T* data;
  Index step;

  HeadRows(View<T, 4> x, Index b, Index h) : data(x.data() + b * x.stride(0) + h * x.stride(1)), step(x.stride(2)) {}
  T* operator[](Index i) const { return data + i * step; }
};

template <class T>
HWY_INLINE T RowDot(const T* a, const T* b, Index width) {
  const Vector<T> d;
  auto sum = hn::Zero(d);
  ForVectors(d, width,
             [&](Index e, auto lanes) HWY_ATTR { sum = hn::MulAdd(lanes.Load(a + e), lanes.Load(b + e), sum); });
  return SumLanes(d, sum);
}

// Lane t is sum_e row[e] rows[t][e], for as many rows as lanes. Which of two rows is `row` does not change a bit.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> RowDots(const T* row, const T* const* rows, Index width) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sums[kLanes<T>];
  for (auto& sum : sums) sum = hn::Zero(d);
  ForVectors(d, width, [&](Index e, auto lanes) HWY_ATTR {
    const auto left = lanes.Load(row + e);
    for (Index t = 0; t < kLanes<T>; ++t) sums[t] = hn::MulAdd(left, lanes.Load(rows[t] + e), sums[t]);
  });
  return AddLanesOf(d, sums);
}

// logits[t] = scale row . rows[t] for t < count, in whole vectors: there must be room, in `rows`, too, whose end is
// filled up with the last one. By the same steps in forward and in backward, so that the bits are the same.
template <class T>
HWY_INLINE void RowLogits(const T* row, const T** rows, Index count, Index width, T scale, T* logits) {
  const Vector<T> d;
  for (Index t = count; t % kLanes<T> != 0; ++t) rows[t] = rows[count - 1];
  for (Index t = 0; t < count; t += kLanes<T>)
    hn::Store(hn::Mul(hn::Set(d, scale), RowDots(row, rows + t, width)), d, logits + t);
}

// kVectors vectors of WeightedSum from `c` on.
template <int kVectors, class Lanes, class T>
HWY_INLINE void WeightedVectors(const Lanes& lanes, const T* weights, Index count, const T* const* rows, Index c,
                                T* out) {
  const Vector<T> d;
  constexpr int kChains = 4;  // so that one waits less for the last
  hn::Vec<Vector<T>> sum[kChains][kVectors];
  for (auto& chain : sum)
    for (auto& one : chain) one = hn::Zero(d);
  const auto add = [&](int chain, Index t) HWY_ATTR {
    const auto weight = hn::Set(d, weights[t]);
    for (int v = 0; v < kVectors; ++v)
      sum[chain][v] = hn::MulAdd(weight, lanes.Load(rows[t] + c + v * kLanes<T>), sum[chain][v]);
  };
  Index t = 0;
  for (; t + kChains <= count; t += kChains)
    for (int chain = 0; chain < kChains; ++chain) add(chain, t + chain);
  for (int chain = 0; t < count; ++t, ++chain) add(chain, t);
  for (int v = 0; v < kVectors; ++v) {
    T* to = out + c + v * kLanes<T>;
    const auto all = hn::Add(hn::Add(sum[0][v], sum[1][v]), hn::Add(sum[2][v], sum[3][v]));
    lanes.Store(hn::Add(lanes.Load(to), all), to);
  }
}

// out[c] += sum_t weights[t] rows[t][c]; four sums take turns.
template <class T>
HWY_INLINE void AddWeightedSum(const T* weights, Index count, const T* const* rows, Index width, T* out) {
  Index c = 0;
  for (; c + kStrip<T> <= width; c += kStrip<T>)
    WeightedVectors<2>(WholeVector<Vector<T>>(), weights, count, rows, c, out);
  ForVectors(Vector<T>(), width - c,
             [&](Index more, auto lanes) HWY_ATTR { WeightedVectors<1>(lanes, weights, count, rows, c + more, out); });
}

// Asks for a row that will be read soon: rows that slots name lie anywhere, so that no prefetcher of the processor sees
// them coming. Of a long row it asks for the beginning, which shows where the rest is.
template <class T>
HWY_INLINE void PrefetchRow(const T* row, Index width) {
  constexpr std::uintptr_t kLine = 64, kMost = 4 * kLine;
  const auto begin = reinterpret_cast<std::uintptr_t>(row);
  const auto end = begin + std::min(static_cast<std::uintptr_t>(width) * sizeof(T), kMost);
  for (std::uintptr_t line = begin / kLine * kLine; line < end; line += kLine)
    hwy::Prefetch(reinterpret_cast<const char*>(line));
}

// Are the rows of a head, one of either width per position, worth asking for? Below, what the processor has in flight
// on its own is enough: at 256 KiB asking makes a pass a fifth slower, at 1 MiB it changes nothing, at 4 MiB it makes
// backward 8 % faster (Zen 5 with 1 MiB of L2).
template <class T>
bool WorthPrefetching(Index rows, Index width, Index value_width) {
  return rows * (width + value_width) * static_cast<Index>(sizeof(T)) > Index{2} << 20;
}

inline constexpr Index kQueriesPerTask = 64;

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
