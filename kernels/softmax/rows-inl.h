// Softmax of rows one behind the other, and its gradient, shared with kernels that fuse one. As many rows as a vector
// has lanes are worked on together: one tree then ends the maxima, and one the sums, of all of them, where each row by
// itself would wait for the way across its own vector three times. Include inside the per-target part of a kernel
// (after targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SOFTMAX_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SOFTMAX_ROWS_INL_H_
#undef SUBQUAD_KERNELS_SOFTMAX_ROWS_INL_H_
#else
#define SUBQUAD_KERNELS_SOFTMAX_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/softmax/exponentials-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// f(first row, number of rows) for all rows, as many at a time as there are lanes, fewer where they would leave the
// first-level cache.
template <class D, class F>
HWY_INLINE void ForRowsTogether(D d, Index rows, Index width, const F& f) {
  constexpr Index kElements = 4096, kLanes = hn::MaxLanes(d);
  const Index together = std::clamp<Index>(kElements / width, 1, kLanes);
  for (Index first = 0; first < rows; first += together) f(first, std::min(together, rows - first));
}

// y may be x.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void SoftmaxOfRows(D d, Index rows, Index width, const T* x, T* y) {
  ForRowsTogether(d, rows, width, [=](Index first, Index count) HWY_ATTR {
    constexpr Index kLanes = hn::MaxLanes(D());
    const T* in = x + first * width;
    T* out = y + first * width;
    hn::Vec<D> of[kLanes];
    std::fill_n(of, kLanes, hn::Zero(d));
    for (Index r = 0; r < count; ++r) of[r] = TopLanes(d, in + r * width, width);
    const auto top = FoldLanesOf(d, of, Largest());
    HWY_ALIGN T shift[kLanes], factor[kLanes];
    hn::Store(hn::IfThenZeroElse(hn::Eq(top, NoLogit(d)), top), d, shift);
    for (Index r = 0; r < count; ++r) of[r] = ExponentialLanes(d, in + r * width, shift[r], width, out + r * width);
    const auto sum = AddLanesOf(d, of);
    hn::Store(hn::IfThenZeroElse(hn::Eq(sum, hn::Zero(d)), hn::Div(hn::Set(d, T(1)), sum)), d, factor);
    for (Index r = 0; r < count; ++r) ScaleRow(d, factor[r], width, out + r * width);
  });
}

// dx = y (dout - sum dout y)
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void SoftmaxGradOfRows(D d, Index rows, Index width, const T* dout, const T* y, T* dx) {
  ForRowsTogether(d, rows, width, [=](Index first, Index count) HWY_ATTR {
    constexpr Index kLanes = hn::MaxLanes(D());
    const T *up = dout + first * width, *p = y + first * width;
    T* out = dx + first * width;
    hn::Vec<D> of[kLanes];
    std::fill_n(of, kLanes, hn::Zero(d));
    for (Index r = 0; r < count; ++r) {
      auto sum = hn::Zero(d);
      ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
        sum = hn::MulAdd(lanes.Load(up + r * width + c), lanes.Load(p + r * width + c), sum);
      });
      of[r] = sum;
    }
    HWY_ALIGN T dots[kLanes];
    hn::Store(AddLanesOf(d, of), d, dots);
    for (Index r = 0; r < count; ++r)
      ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
        const auto beyond = hn::Sub(lanes.Load(up + r * width + c), hn::Set(d, dots[r]));
        lanes.Store(hn::Mul(lanes.Load(p + r * width + c), beyond), out + r * width + c);
      });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
