// The BLAS behind matrix products that are not for tiles of ours (matmul/tiled.h): OpenBLAS built with OpenMP, opened at first use.
//
// It is opened by hand, not linked, for two reasons. OpenBLAS picks its kernels in its constructor, before main, and
// does not know every processor (version 0.3.21 runs SSE3 code, "Prescott", on recent Intel ones): we choose by CPUID
// just before opening it, unless the user's OPENBLAS_CORETYPE already does. And the build with its own threads wins the
// system's default link, while only the OpenMP build shares our pool and keeps to one thread inside a parallel loop.
#pragma once

#include <string>
#include <vector>

#include "subquad/kernels/blas/matrix.h"

namespace subquad::kernels {

// c [m, n] = alpha * a [m, k] * b [k, n] + beta * c, on the calling thread alone: with two threads OpenBLAS gives other
// bits than with one, so callers cut the work by shape. c is not transposed, and not read when beta is 0.
void gemm(Index m, Index n, Index k, float alpha, Matrix<const float> a, Matrix<const float> b, float beta,
          Matrix<float> c);
void gemm(Index m, Index n, Index k, double alpha, Matrix<const double> a, Matrix<const double> b, double beta,
          Matrix<double> c);

// The processor whose kernels OpenBLAS runs: "SkylakeX", "Haswell", ...
std::string blas_core_name();

// A function of the opened library, for benchmarks that stand beside it. Error when it has none of that name.
void* blas_symbol(const char* name);

// The handle of the first of `libraries` (paths, or names that the loader knows) that is an OpenBLAS built with OpenMP.
// When none is: Error that says what was wrong with each and what to install.
void* open_openblas(const std::vector<std::string>& libraries);

}  // namespace subquad::kernels
