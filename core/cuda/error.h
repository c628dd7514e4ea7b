// CUDA calls that fail become DeviceErrors.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "subquad/core/error.h"

namespace subquad::cuda {

// Throws a DeviceError that names `call`, CUDA's own name and words for the error, and the op that runs (range.h). What
// a kernel does wrong while it runs is only seen by a later call.
void check(cudaError_t status, const char* call);
void check_launch(cudaError_t status, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes);

}  // namespace subquad::cuda
