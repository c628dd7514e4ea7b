#include "subquad/kernels/grad_norm/cuda.h"

#include <cmath>

#include "subquad/kernels/warp/reduce.cuh"
#include "subquad/kernels/warp/sweep.cuh"

namespace subquad::kernels::cuda {

namespace {

// All sweep over the arena, N neighbouring elements per thread and turn (kernels/warp/sweep.cuh); each block leaves the
// sum of its squares in parts[block].
template <class T, int N>
__global__ void square_sums(const T* grad, Index size, double* parts) {
  SharedMemory shared;
  double sum = 0;
  sweep<N>(size, [&]<int kCount>(Index first) {
    const auto pack = load_pack<kCount>(grad + first);
    for (int i = 0; i < kCount; ++i) sum += static_cast<double>(pack.at[i]) * static_cast<double>(pack.at[i]);
  });
  sum = block_sum(sum, shared.take<double>(kWarp));
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One block: thread t adds parts t, t + kSweepThreads, ... in order, and the threads' sums in the order of block_sum.
__global__ void root_of_sum_once(const double* parts, int count, double* norm) {
  SharedMemory shared;
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kSweepThreads) sum += parts[i];
  sum = block_sum(sum, shared.take<double>(kWarp));
  if (threadIdx.x == 0) *norm = std::sqrt(sum);
}

// One thread.
__global__ void clip_scale_once(const double* norm, double max_norm, double* scale) {
  const double ratio = max_norm / (*norm + 1e-6);
  *scale = ratio > 1 ? 1 : ratio;  // this way round a NaN stays one
}

}  // namespace

void grad_norm(const Tensor& grad, Tensor& norm) {
  visit_float("grad_norm", grad.dtype(), [&]<class T>(Type<T>) {
    with_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const unsigned blocks = sweep_blocks(grad.size(), N);
          Tensor parts = empty({blocks}, kFloat64, grad.device());
          launch(square_sums<T, N>, dim3(blocks), dim3(kSweepThreads), shared_size<double>(kWarp), current_stream(),
                 grad.data<T>(), grad.size(), parts.data<double>());
          launch(root_of_sum_once, dim3(1), dim3(kSweepThreads), shared_size<double>(kWarp), current_stream(),
                 parts.data<double>(), static_cast<int>(blocks), norm.data<double>());
        },
        grad);
  });
}

void clip_scale(const Tensor& norm, double max_norm, Tensor& scale) {
  launch(clip_scale_once, dim3(1), dim3(1), 0, current_stream(), norm.data<double>(), max_norm, scale.data<double>());
}

}  // namespace subquad::kernels::cuda
