// The list of mutable global state; there is no other.
//
//   allocator caches and counters   core/allocator.h     one per device, under a mutex; SUBQUAD_CUDA_CACHE read once
//   CUDA streams, staging memory,   core/cuda/           one of each per device, made at first use, never destroyed;
//     page-locked memory, reports                          guarded by mutexes
//   current device, current op      core/cuda/           thread-local
//   precision                       core/precision.h     thread-local guard
//   thread count                    core/parallel.h      set once, by main
//   SIMD target                     below                set once, by main or the environment
//   BLAS handle; FFT plans          kernels/blas/, fft/  opened at first use; the 48 used last, under a mutex
//   count of waits for a device     core/cuda/           atomic; core/graph.h reads it
//   cuBLAS handle, cuFFT plans      kernels/cublas/, cufft/  per device, at first use; 16 plans; mutexes
//   the profile being made          core/profile.h       at most one, under a mutex; phase and module thread-local
//   grad and anomaly mode; numbers  autograd/            thread-local guards; an atomic counter of graph nodes
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace subquad {

// Instruction sets that CPU kernels are compiled for and this processor offers, best first: "avx512", "avx2", "scalar".
std::vector<std::string> simd_targets();

// The one in use: the best, unless SUBQUAD_SIMD or set_simd_target chose another. An unknown or missing one is an Error
// that lists what is offered.
std::string simd_target();
void set_simd_target(std::string_view name);

// Makes that choice if nobody has made it yet: what a kernel does before it dispatches (kernels/simd/targets.h). Cheap.
void choose_simd_target();

}  // namespace subquad
