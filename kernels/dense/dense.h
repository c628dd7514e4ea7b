// An affine map with what follows it: activation, dropout and a residual.
//
//   z[..., o] = sum_i x[..., i] weight[i, o] + bias[o]       out = keep / (1 - p) * act(z) + residual
//
// It is kernels/linear and kernels/bias_act_dropout in one; keep, act and their gradients are defined there. On the CPU
// it goes by blocks of rows whose products stay in L2 until the rest is done with them. So beside inputs and results
// nothing goes through memory, where in two passes a product is written and read again, and in backward the gradient of
// z, too, which three products read.
//
//   x [B, ..., I]   weight [I, O]   bias [O] or undefined   out, dout [B, ..., O]   residual like out or undefined
//   one dtype (float32, float64), one device; bias, residual and dout are contiguous; any extent may be 0; 0 <= p < 1
//
// Deterministic: a block's rows are cut by shape, the gradients of weight and bias are sums of some blocks, in order.
// Work: 2*rows*I*O flops forward, twice that backward.
#pragma once

#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"

namespace subquad::kernels {

struct DenseOptions {
  Activation activation = Activation::none;
  double p = 0;
  RandomState rng = {};
};

struct Dense {
  Tensor out;
  Tensor product = {};  // x weight [..., O], for backward; undefined without an activation, or when nobody asked
  KeptMask mask = {};   // likewise, without dropout
};
Dense dense(const Tensor& x, const Tensor& weight, const Tensor& bias, const DenseOptions& options,
            const Tensor& residual, bool for_backward);

// Of the first three inputs; the residual's is dout. dx and dweight only where wanted. Of dweight and dbias the shares
// of blocks of rows, not yet added up: [P, I, O], [P, O]; dbias is undefined without a bias.
struct DenseGrads {
  Tensor dx, dweight, dbias;
};
DenseGrads dense_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const DenseOptions& options, const Dense& forward, bool want_dx, bool want_dweight);

}  // namespace subquad::kernels
