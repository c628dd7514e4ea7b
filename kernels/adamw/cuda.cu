#include "subquad/kernels/adamw/cuda.h"

#include <cmath>

#include "subquad/core/cuda/complain.cuh"
#include "subquad/kernels/adamw/step.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/sweep.cuh"

namespace subquad::kernels::cuda {

namespace {

// What changes from step to step stays on the device, so that a captured step can be replayed.
struct Schedule {
  const std::int64_t* step;
  const double* rate;
  const double* grad_scale;  // null for 1
  const double* beta1;       // null for the option's
};

template <class T>
__device__ AdamWStep<T> prepare(const Schedule& schedule, AdamWOptions o) {
  if (schedule.beta1 != nullptr) o.beta1 = *schedule.beta1;
  const double step = static_cast<double>(*schedule.step);
  const double seen1 = 1 - std::pow(o.beta1, step), seen2 = 1 - std::pow(o.beta2, step);
  const double grad_scale = schedule.grad_scale != nullptr ? *schedule.grad_scale : 1;
  return adamw_step<T>(seen1, std::sqrt(seen2), *schedule.rate, grad_scale, o);
}

// The first thread of each block works out the constants of the step (powers in double) and shares them; then all sweep
// over the arenas, N neighbouring elements per thread and turn (kernels/warp/sweep.cuh).
template <class T, int N>
__global__ void adamw_packs(T* param, const T* grad, T* m, T* v, Index size, Schedule schedule, AdamWOptions options,
                            Report* report) {
  SharedMemory shared;
  AdamWStep<T>* const prepared = shared.take<AdamWStep<T>>(1);
  if (threadIdx.x == 0) *prepared = prepare<T>(schedule, options);
  __syncthreads();
  const AdamWStep<T> s = *prepared;
  if (s.grad_scale != s.grad_scale) return;  // a NaN: nothing changes
  if (*schedule.step < 1) {
    if (blockIdx.x == 0 && threadIdx.x == 0) complain(report, Complaint::adamw_step, 0, *schedule.step, 1);
    return;
  }
  sweep<N>(size, [&]<int kCount>(Index first) {
    auto p = load_pack<kCount>(param + first), mean = load_pack<kCount>(m + first),
         square = load_pack<kCount>(v + first);
    const auto from = load_pack<kCount>(grad + first);
    for (int i = 0; i < kCount; ++i) {
      const T g = from.at[i] * s.grad_scale + s.coupled_decay * p.at[i];
      mean.at[i] = s.beta1 * mean.at[i] + s.rest1 * g;
      square.at[i] = s.beta2 * square.at[i] + s.rest2 * (g * g);
      p.at[i] = s.keep * p.at[i] - s.rate * mean.at[i] / (std::sqrt(square.at[i]) * s.root_scale + s.epsilon);
    }
    store_pack(param + first, p);
    store_pack(m + first, mean);
    store_pack(v + first, square);
  });
}

}  // namespace

void adamw(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, const Tensor& step, const Tensor& rate,
           const Tensor& grad_scale, const AdamWOptions& options, const Tensor& beta1) {
  const Index size = param.size();
  if (size == 0) return;
  const Schedule schedule = {step.data<std::int64_t>(), rate.data<double>(),
                             grad_scale.defined() ? grad_scale.data<double>() : nullptr,
                             beta1.defined() ? beta1.data<double>() : nullptr};
  visit_float("adamw", param.dtype(), [&]<class T>(Type<T>) {
    const auto start = [&]<int N>(std::integral_constant<int, N>) {
      launch(adamw_packs<T, N>, dim3(sweep_blocks(size, N)), dim3(kSweepThreads), shared_size<AdamWStep<T>>(1),
             current_stream(), param.data<T>(), grad.data<T>(), m.data<T>(), v.data<T>(), size, schedule, options,
             report());
    };
    with_pack<T>(start, param, grad, m, v);
  });
}

}  // namespace subquad::kernels::cuda
