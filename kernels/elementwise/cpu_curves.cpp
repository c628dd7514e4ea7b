#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/elementwise/cpu_curves.cpp"
#include "subquad/kernels/elementwise/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include <hwy/contrib/math/math-inl.h>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/erf-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

inline constexpr Index kCurveChunk = 4096;  // elements per task
inline constexpr Index kCurveWork = 4;      // rough operations per element, for parallel_for

// e^x. Highway's is good to one unit in the last place, up to the logarithm of the largest number; beyond that, and for
// a NaN, what IEEE 754 says.
template <class D>
HWY_INLINE hn::Vec<D> ExpOf(D d, hn::Vec<D> x) {
  using T = hn::TFromD<D>;
  if constexpr (HWY_TARGET == HWY_SCALAR) {
    return hn::Set(d, std::exp(hn::GetLane(x)));
  } else {
    const auto highest = hn::Set(d, std::is_same_v<T, float> ? T(88.72283) : T(709.782712893384));
    const auto y = hn::Exp(d, hn::Min(x, highest));
    const auto whole = hn::IfThenElse(hn::Gt(x, highest), hn::Set(d, std::numeric_limits<T>::infinity()), y);
    return hn::IfThenElse(hn::IsNaN(x), x, whole);
  }
}

template <class D>
HWY_INLINE hn::Vec<D> TanhOf(D d, hn::Vec<D> x) {
  if constexpr (HWY_TARGET == HWY_SCALAR)
    return hn::Set(d, std::tanh(hn::GetLane(x)));
  else
    return hn::Tanh(d, x);
}

template <class D>
HWY_INLINE hn::Vec<D> SigmoidOf(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, hn::TFromD<D>(1));
  return hn::Div(one, hn::Add(one, ExpOf(d, hn::Neg(x))));
}

// out[i] = f(d, x[i]), both contiguous.
template <class T, class F>
void Map(const Tensor& x, Tensor& out, const F& f) {
  const T* from = x.data<T>();
  T* to = out.data<T>();
  parallel_chunks(x.size(), kCurveChunk, kCurveWork, [&](Index begin, Index end) HWY_ATTR {
    const hn::ScalableTag<T> d;
    ForVectors(d, end - begin,
               [&](Index i, auto lanes) HWY_ATTR { lanes.Store(f(d, lanes.Load(from + begin + i)), to + begin + i); });
  });
}

template <class T>
void CurveOf(Curve function, const Tensor& x, Tensor& out) {
  switch (function) {
    case Curve::exp: return Map<T>(x, out, [](auto d, auto v) HWY_ATTR { return ExpOf(d, v); });
    case Curve::tanh: return Map<T>(x, out, [](auto d, auto v) HWY_ATTR { return TanhOf(d, v); });
    case Curve::sigmoid: return Map<T>(x, out, [](auto d, auto v) HWY_ATTR { return SigmoidOf(d, v); });
    case Curve::gelu: return Map<T>(x, out, [](auto d, auto v) HWY_ATTR { return Gelu(d, v); });
  }
}

void ApplyCurve(Curve function, const Tensor& x, Tensor& out) {
  visit_float("elementwise", x.dtype(), [&]<class T>(Type<T>) { CurveOf<T>(function, x, out); });
}

void GeluGrad(const Tensor& dout, const Tensor& x, Tensor& dx) {
  visit_float("gelu_grad", x.dtype(), [&]<class T>(Type<T>) {
    const T* upstream = dout.data<T>();
    const T* from = x.data<T>();
    T* to = dx.data<T>();
    parallel_chunks(x.size(), kCurveChunk, kCurveWork, [&](Index begin, Index end) HWY_ATTR {
      const hn::ScalableTag<T> d;
      ForVectors(d, end - begin, [&](Index i, auto lanes) HWY_ATTR {
        const auto slope = GeluSlope(d, lanes.Load(from + begin + i));
        lanes.Store(hn::Mul(lanes.Load(upstream + begin + i), slope), to + begin + i);
      });
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(ApplyCurve);
HWY_EXPORT(GeluGrad);

namespace cpu {

// These functions cost more than a copy does, so other layouts are copied first.

void curve(Curve function, const Tensor& x, Tensor& out) {
  SUBQUAD_DISPATCH(ApplyCurve)(function, x.contiguous(), out);
}

void gelu_grad(const Tensor& dout, const Tensor& x, Tensor& dx) {
  SUBQUAD_DISPATCH(GeluGrad)(dout.contiguous(), x.contiguous(), dx);
}

}  // namespace cpu
}  // namespace subquad::kernels

#endif  // HWY_ONCE
