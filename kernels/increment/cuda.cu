#include "subquad/kernels/increment/cuda.h"

#include "subquad/core/cuda/launch.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;

// One thread per number.
__global__ void increment_each(std::int64_t* count, Index size) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < size) ++count[i];
}

}  // namespace

void increment(Tensor& count) {
  if (count.size() == 0) return;
  launch(increment_each, dim3(blocks_for("increment", count.size(), kThreads)), dim3(kThreads), 0, current_stream(),
         count.data<std::int64_t>(), count.size());
}

}  // namespace subquad::kernels::cuda
