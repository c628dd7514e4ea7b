// The steps of a softmax over one row, shared with kernels that fuse one. Include inside the per-target part of a
// kernel (after targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SOFTMAX_EXPONENTIALS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SOFTMAX_EXPONENTIALS_INL_H_
#undef SUBQUAD_KERNELS_SOFTMAX_EXPONENTIALS_INL_H_
#else
#define SUBQUAD_KERNELS_SOFTMAX_EXPONENTIALS_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>
#include <numbers>

#include "subquad/kernels/simd/exp2-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> NoLogit(D d) {
  return hn::Set(d, -std::numeric_limits<T>::infinity());
}

// The largest logit of a row is the largest lane.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> TopLanes(D d, const T* logits, Index width) {
  auto top = NoLogit(d);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR { top = hn::Max(top, lanes.Load(logits + c, NoLogit(d))); });
  return top;
}

// What is taken from every logit before the exponential: the row's maximum, or 0 where that is -inf, so that
// -inf minus it is no NaN.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE T RowShift(D d, const T* logits, Index width) {
  const T max = hn::GetLane(hn::MaxOfLanes(d, TopLanes(d, logits, width)));
  return max == -std::numeric_limits<T>::infinity() ? T(0) : max;
}

// The lanes sum up to sum_c exp(logits[c] - shift); the terms go to `exponentials` unless that is null. A NaN among the
// logits makes the sum a NaN.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> ExponentialLanes(D d, const T* logits, T shift, Index width, T* exponentials) {
  const auto log2_e = hn::Set(d, std::numbers::log2e_v<T>);
  auto sum = hn::Zero(d);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    const auto e = Exp2(d, hn::Mul(hn::Sub(lanes.Load(logits + c), hn::Set(d, shift)), log2_e));
    if (exponentials != nullptr) lanes.Store(e, exponentials + c);
    sum = hn::Add(sum, lanes.OrZero(e));
  });
  return sum;
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE T ExponentialsOfRow(D d, const T* logits, T shift, Index width, T* exponentials) {
  return SumLanes(d, ExponentialLanes(d, logits, shift, width, exponentials));
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void ScaleRow(D d, T factor, Index width, T* row) {
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    lanes.Store(hn::Mul(lanes.Load(row + c), hn::Set(d, factor)), row + c);
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
