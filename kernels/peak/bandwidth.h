// How fast one thread moves bytes that lie at one level of the memory.
#pragma once

#include <cstddef>

namespace subquad::kernels {

// Bytes per second of the faster of two loops over `bytes` of memory that run again and again: one reads them all, one
// copies half of them to the other half (which counts both; with stores that pass the caches by where they would not
// fit). On the SIMD target that the kernels use; the best of several runs.
double bandwidth(std::size_t bytes);

}  // namespace subquad::kernels
