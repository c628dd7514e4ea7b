// CUDA's words for what g++ compiles as plain functions. A kernel carries an ABI tag, so that the symbol table of an
// object file tells which of its functions are kernels (coverage.sh). There is no __shared__ and no __constant__:
// kernels take shared memory through SharedMemory (core/cuda/launch.cuh).
#pragma once

#define __global__ __attribute__((abi_tag("kernel")))
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
