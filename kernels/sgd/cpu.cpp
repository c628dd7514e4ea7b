#include "subquad/kernels/sgd/cpu.h"

#include <cmath>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

// The constants of one step, in the parameters' type.
template <class T>
struct Step {
  T grad_scale;
  T decay;
  T momentum;
  T rate;
};

template <class T>
void plain(const Step<T>& s, Index count, T* __restrict param, const T* __restrict grad) {
  for (Index i = 0; i < count; ++i) param[i] -= s.rate * (grad[i] * s.grad_scale + s.decay * param[i]);
}

template <bool Nesterov, class T>
void with_momentum(const Step<T>& s, Index count, T* __restrict param, const T* __restrict grad,
                   T* __restrict velocity) {
  for (Index i = 0; i < count; ++i) {
    const T g = grad[i] * s.grad_scale + s.decay * param[i];
    velocity[i] = s.momentum * velocity[i] + g;
    param[i] -= s.rate * (Nesterov ? g + s.momentum * velocity[i] : velocity[i]);
  }
}

}  // namespace

void sgd(Tensor& param, const Tensor& grad, Tensor& velocity, const Tensor& rate, const Tensor& grad_scale,
         const SgdOptions& options) {
  const double scale = grad_scale.defined() ? grad_scale.item<double>() : 1;
  if (std::isnan(scale)) return;
  visit_float("sgd", param.dtype(), [&]<class T>(Type<T>) {
    const Step<T> s = {static_cast<T>(scale), static_cast<T>(options.weight_decay), static_cast<T>(options.momentum),
                       static_cast<T>(rate.item<double>())};
    T* p = param.data<T>();
    const T* g = grad.data<T>();
    T* past = options.momentum != 0 ? velocity.data<T>() : nullptr;
    constexpr Index kChunk = 8192;
    parallel_chunks(param.size(), kChunk, 1, [&](Index begin, Index end) {
      const Index count = end - begin;
      if (past == nullptr)
        plain(s, count, p + begin, g + begin);
      else if (options.nesterov)
        with_momentum<true>(s, count, p + begin, g + begin, past + begin);
      else
        with_momentum<false>(s, count, p + begin, g + begin, past + begin);
    });
  });
}

}  // namespace subquad::kernels::cpu
