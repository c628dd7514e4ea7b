// The BLAS of the GPU: cuBLAS, one handle per device, made at first use and kept as long as the process lives. No CUDA
// header is needed to include this one.
//
// The handle works in the current stream and in one preset workspace (33 MiB on an H100), so a captured step replays
// the same products at the same addresses, and the same call gives the same bits every time. The first product of a
// device must not fall into a capture: making the handle asks the driver for memory.
#pragma once

#include "subquad/core/dtype.h"
#include "subquad/kernels/blas/matrix.h"

namespace subquad::kernels::cuda {

// Matrices of one layout, each `stride` elements behind the one before (0: one for all).
template <class T>
struct Matrices {
  Matrix<T> first;
  Index stride = 0;
};

struct Products {
  Index count = 1;  // how many: of matrices [m, k] and [k, n], all at least 1
  Index m = 1, n = 1, k = 1;
};

enum class FloatProduct {
  exact,  // float32, never TensorFloat-32
  tf32,   // cuBLAS may round operands to TensorFloat-32
};

// c = alpha * a b + beta * c for each of the products, sums in c's type. c is not transposed, and not read when beta is
// 0. DeviceError naming the call and cuBLAS's own words when it is refused.
void gemm(const Products& products, double alpha, const Matrices<const double>& a, const Matrices<const double>& b,
          double beta, const Matrices<double>& c);
void gemm(const Products& products, float alpha, const Matrices<const float>& a, const Matrices<const float>& b,
          float beta, const Matrices<float>& c, FloatProduct how);
void gemm(const Products& products, float alpha, const Matrices<const BFloat16>& a, const Matrices<const BFloat16>& b,
          float beta, const Matrices<float>& c);

}  // namespace subquad::kernels::cuda
