#include "subquad/kernels/adamw/cpu.h"

#include <cmath>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

// The constants of one step, in the parameters' type.
template <class T>
struct Step {
  T grad_scale;
  T coupled_decay;  // added to the gradient, times the parameter
  T keep;           // 1 - rate * weight_decay, or 1
  T beta1, rest1;   // rest = 1 - beta
  T beta2, rest2;
  T rate;        // rate / (1 - beta1^step)
  T root_scale;  // 1 / sqrt(1 - beta2^step)
  T epsilon;
};

template <class T>
Step<T> prepare(Index step, double rate, double grad_scale, const AdamWOptions& o) {
  const double seen1 = 1 - std::pow(o.beta1, static_cast<double>(step));
  const double seen2 = 1 - std::pow(o.beta2, static_cast<double>(step));
  const auto t = [](double value) { return static_cast<T>(value); };
  return {.grad_scale = t(grad_scale),
          .coupled_decay = t(o.decoupled ? 0 : o.weight_decay),
          .keep = t(o.decoupled ? 1 - rate * o.weight_decay : 1),
          .beta1 = t(o.beta1),
          .rest1 = t(1 - o.beta1),
          .beta2 = t(o.beta2),
          .rest2 = t(1 - o.beta2),
          .rate = t(rate / seen1),
          .root_scale = t(1 / std::sqrt(seen2)),
          .epsilon = t(o.epsilon)};
}

template <class T>
void update(const Step<T>& s, Index count, T* __restrict param, const T* __restrict grad, T* __restrict m,
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
           const Tensor& grad_scale, const AdamWOptions& options) {
  const double scale = grad_scale.defined() ? grad_scale.item<double>() : 1;
  if (std::isnan(scale)) return;
  const Index now = step.item<std::int64_t>();
  if (now < 1) throw Error(cat("adamw: step is ", now, ", expected at least 1: the first step is 1"));
  visit_float("adamw", param.dtype(), [&]<class T>(Type<T>) {
    const Step<T> s = prepare<T>(now, rate.item<double>(), scale, options);
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
