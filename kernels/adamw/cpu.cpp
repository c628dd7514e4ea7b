#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/adamw/cpu.cpp"
#include "subquad/kernels/adamw/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "subquad/kernels/adamw/step.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
void Update(const AdamWStep<T>& s, Index count, const T* grad, T* param, T* m, T* v) {
  const hn::ScalableTag<T> d;
  const auto all = [d](T value) HWY_ATTR { return hn::Set(d, value); };
  const auto scale = all(s.grad_scale), coupled = all(s.coupled_decay), keep = all(s.keep), rate = all(s.rate);
  const auto beta1 = all(s.beta1), rest1 = all(s.rest1), beta2 = all(s.beta2), rest2 = all(s.rest2);
  const auto root_scale = all(s.root_scale), epsilon = all(s.epsilon);
  ForVectors(d, count, [&](Index i, auto lanes) HWY_ATTR {
    const auto p = lanes.Load(param + i);
    const auto g = hn::MulAdd(lanes.Load(grad + i), scale, hn::Mul(coupled, p));
    const auto mean = hn::MulAdd(beta1, lanes.Load(m + i), hn::Mul(rest1, g));
    const auto square = hn::MulAdd(beta2, lanes.Load(v + i), hn::Mul(rest2, hn::Mul(g, g)));
    const auto step = hn::Div(hn::Mul(rate, mean), hn::MulAdd(hn::Sqrt(square), root_scale, epsilon));
    lanes.Store(mean, m + i);
    lanes.Store(square, v + i);
    lanes.Store(hn::MulSub(keep, p, step), param + i);
  });
}

template <class T>
void UpdateAll(const AdamWStep<T>& s, const Tensor& grad, Tensor& param, Tensor& m, Tensor& v) {
  const T* from = grad.data<T>();
  T *values = param.data<T>(), *first = m.data<T>(), *second = v.data<T>();
  constexpr Index kChunk = 4096;
  constexpr Index kWork = 4;  // scalar operations' worth of time per element
  parallel_chunks(param.size(), kChunk, kWork, [=, &s](Index begin, Index end) HWY_ATTR {
    Update(s, end - begin, from + begin, values + begin, first + begin, second + begin);
  });
}

void UpdateFloat(const AdamWStep<float>& s, const Tensor& grad, Tensor& param, Tensor& m, Tensor& v) {
  UpdateAll(s, grad, param, m, v);
}

void UpdateDouble(const AdamWStep<double>& s, const Tensor& grad, Tensor& param, Tensor& m, Tensor& v) {
  UpdateAll(s, grad, param, m, v);
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(UpdateFloat);
HWY_EXPORT(UpdateDouble);

namespace cpu {

void adamw(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, const Tensor& step, const Tensor& rate,
           const Tensor& grad_scale, const AdamWOptions& options, const Tensor& beta1) {
  const double scale = grad_scale.defined() ? grad_scale.item<double>() : 1;
  if (std::isnan(scale)) return;
  const Index now = step.item<std::int64_t>();
  if (now < 1) throw Error(cat("adamw: step is ", now, ", expected at least 1: the first step is 1"));
  AdamWOptions o = options;
  if (beta1.defined()) o.beta1 = beta1.item<double>();
  const double seen1 = 1 - std::pow(o.beta1, static_cast<double>(now));
  const double seen2 = 1 - std::pow(o.beta2, static_cast<double>(now));
  visit_float("adamw", param.dtype(), [&]<class T>(Type<T>) {
    const AdamWStep<T> s = adamw_step<T>(seen1, std::sqrt(seen2), rate.item<double>(), scale, o);
    if constexpr (std::is_same_v<T, float>)
      SUBQUAD_DISPATCH(UpdateFloat)(s, grad, param, m, v);
    else
      SUBQUAD_DISPATCH(UpdateDouble)(s, grad, param, m, v);
  });
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
