// The CUDA bodies of kernels/elementwise. Arguments are checked and inputs expanded to the shape of `out` already.
//
// Which function a kernel applies is a number that all its threads agree on: one kernel serves all functions of a kind,
// and the branch hides behind the memory traffic.
#pragma once

#include "subquad/core/tensor.h"
#include "subquad/kernels/elementwise/functions.h"

namespace subquad::kernels::cuda {

void unary(Unary function, const Tensor& x, Tensor& out);
void curve(Curve function, const Tensor& x, Tensor& out);
void gelu_grad(const Tensor& dout, const Tensor& x, Tensor& dx);
void with_number(WithNumber function, const Tensor& x, double number, Tensor& out);
void binary(Binary function, const Tensor& a, const Tensor& b, Tensor& out);
void comparison(Comparison function, const Tensor& a, const Tensor& b, Tensor& out);
void where(const Tensor& cond, const Tensor& a, const Tensor& b, Tensor& out);

void scale_into(Tensor& out, double factor);
void axpy_into(Tensor& out, double factor, const Tensor& x);

}  // namespace subquad::kernels::cuda
