#include "subquad/kernels/adamw/cpu.h"

#include <cmath>

#include "subquad/core/parallel.h"
#include "subquad/kernels/adamw/step.h"

namespace subquad::kernels::cpu {

namespace {

template <class T>
void update(const AdamWStep<T>& s, Index count, T* __restrict param, const T* __restrict grad, T* __restrict m,
            T* __restrict v) {
  for (Index i = 0; i < count; ++i) {
    const T g = grad[i] * s.grad_scale + s.coupled_decay * param[i];
    m[i] = s.beta1 * m[i] + s.rest1 * g;
    v[i] = s.beta2 * v[i] + s.rest2 * (g * g);
    param[i] = s.keep * param[i] - s.rate * m[i] / (std::sqrt(v[i]) * s.root_scale + s.epsilon);
  }
}

}  // namespace

void adamw(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, const Tensor& step, const Tensor& rate,
           const Tensor& grad_scale, const AdamWOptions& options, const Tensor& beta1) {
  const double scale = grad_scale.defined() ? grad_scale.item<double>() : 1;
  if (std::isnan(scale)) return;
  const Index now = step.item<std::int64_t>();
  if (now < 1) throw Error(cat("adamw: step is ", now, ", expected at least 1: the first step is 1"));
  visit_float("adamw", param.dtype(), [&]<class T>(Type<T>) {
    AdamWOptions o = options;
    if (beta1.defined()) o.beta1 = beta1.item<double>();
    const double seen1 = 1 - std::pow(o.beta1, static_cast<double>(now));
    const double seen2 = 1 - std::pow(o.beta2, static_cast<double>(now));
    const AdamWStep<T> s = adamw_step<T>(seen1, std::sqrt(seen2), rate.item<double>(), scale, o);
    T* p = param.data<T>();
    const T* g = grad.data<T>();
    T* first = m.data<T>();
    T* second = v.data<T>();
    constexpr Index kChunk = 4096;
    constexpr Index kWork = 4;  // scalar operations' worth of time per element
    parallel_chunks(param.size(), kChunk, kWork, [&](Index begin, Index end) {
      update(s, end - begin, p + begin, g + begin, first + begin, second + begin);
    });
  });
}

}  // namespace subquad::kernels::cpu
