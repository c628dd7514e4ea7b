#include "subquad/kernels/sgd/cuda.h"

#include "subquad/kernels/warp/sweep.cuh"

namespace subquad::kernels::cuda {

namespace {

// All sweep over the arenas, N neighbouring elements per thread and turn (kernels/warp/sweep.cuh). Rate and scale are
// read here, so that a captured step can be replayed. `grad_scale` is null for 1, `velocity` without momentum.
template <class T, int N>
__global__ void sgd_packs(T* param, const T* grad, T* velocity, Index size, const double* rate_of_step,
                          const double* grad_scale, SgdOptions options) {
  const T rate = static_cast<T>(*rate_of_step), scale = static_cast<T>(grad_scale != nullptr ? *grad_scale : 1);
  if (scale != scale) return;  // a NaN: nothing changes
  const T decay = static_cast<T>(options.weight_decay), momentum = static_cast<T>(options.momentum);
  sweep<N>(size, [&]<int kCount>(Index first) {
    auto p = load_pack<kCount>(param + first);
    const auto from = load_pack<kCount>(grad + first);
    Pack<T, kCount> past = {};
    if (velocity != nullptr) past = load_pack<kCount>(velocity + first);
    for (int i = 0; i < kCount; ++i) {
      const T g = from.at[i] * scale + decay * p.at[i];
      past.at[i] = momentum * past.at[i] + g;
      p.at[i] -= rate * (options.nesterov ? g + momentum * past.at[i] : past.at[i]);
    }
    store_pack(param + first, p);
    if (velocity != nullptr) store_pack(velocity + first, past);
  });
}

}  // namespace

void sgd(Tensor& param, const Tensor& grad, Tensor& velocity, const Tensor& rate, const Tensor& grad_scale,
         const SgdOptions& options) {
  const Index size = param.size();
  if (size == 0) return;
  const Tensor past = options.momentum != 0 ? velocity : Tensor();
  visit_float("sgd", param.dtype(), [&]<class T>(Type<T>) {
    const auto start = [&]<int N>(std::integral_constant<int, N>) {
      launch(sgd_packs<T, N>, dim3(sweep_blocks(size, N)), dim3(kSweepThreads), 0, current_stream(), param.data<T>(),
             grad.data<T>(), options.momentum != 0 ? velocity.data<T>() : nullptr, size, rate.data<double>(),
             grad_scale.defined() ? grad_scale.data<double>() : nullptr, options);
    };
    with_pack<T>(start, param, grad, past);
  });
}

}  // namespace subquad::kernels::cuda
