// What gathered attention's forward and backward share. Lanes are features: every query has keys of its own, so there
// is nothing that neighbouring queries could share in a vector.
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

// One logit, by the same steps in forward and in backward, so that its bits are the same.
template <class T>
HWY_INLINE T SlotLogit(const T* q, const T* k, Index width, T scale, const T* bias, Index slot) {
  const T logit = scale * RowDot(q, k, width);
  return bias == nullptr ? logit : logit + bias[slot];
}

// out[c] (+)= sum_t weights[t] rows(t)[c], one chain of multiply-adds in the order of t per element
template <bool kAdd, class T, class F>
HWY_INLINE void WeightedSum(const T* weights, Index count, const F& row_of, Index width, T* out) {
  const Vector<T> d;
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    auto sum = kAdd ? lanes.Load(out + c) : hn::Zero(d);
    for (Index t = 0; t < count; ++t) sum = hn::MulAdd(hn::Set(d, weights[t]), lanes.Load(row_of(t) + c), sum);
    lanes.Store(sum, out + c);
  });
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

inline constexpr Index kQueriesPerTask = 64;

// Heads side by side where there are enough of them for the threads, else one after the other with threads inside; the
// bits are the same.
template <class F>
void ForHeads(Index heads, Index work, const F& f) {
  if (heads >= num_threads())
    parallel_for(heads, work, f);
  else
    for (Index head = 0; head < heads; ++head) f(head);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
