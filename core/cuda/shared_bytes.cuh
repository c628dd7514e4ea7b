// The one declaration of dynamic shared memory (tests/simt has its own).
#pragma once

#include <cuda_runtime.h>

namespace subquad::cuda {

extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];

__device__ inline unsigned char* shared_bytes() {
  return dynamic_shared_memory;
}

}  // namespace subquad::cuda
