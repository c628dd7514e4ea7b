#include "subquad/kernels/increment/cuda.h"

#include "subquad/core/cuda/launch.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;

// One thread per number; all read the gate, if there is one.
__global__ void increment_each(std::int64_t* count, Index size, const double* gate) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < size && (gate == nullptr || *gate == *gate)) ++count[i];
}

}  // namespace

void increment(Tensor& count, const Tensor& gate) {
  if (count.size() == 0) return;
  launch(increment_each, dim3(blocks_for("increment", count.size(), kThreads)), dim3(kThreads), 0, current_stream(),
         count.data<std::int64_t>(), count.size(), gate.defined() ? gate.data<double>() : nullptr);
}

}  // namespace subquad::kernels::cuda
