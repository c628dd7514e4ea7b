// The two kinds of work of a chain on CUDA: rows of factors times rows of values, and products of rows with rows.
#pragma once

#include "subquad/kernels/chord_matmul/arguments.h"

namespace subquad::kernels::cuda {

// Which way through a chain: factors times values, or transposed factors, last to first, times a gradient.
struct Way {
  const ChainArguments& chain;
  bool back = false;

  Index factors() const { return chain.weights.dim(0); }
  // Number of the factor that is the step-th to be multiplied by.
  Index factor(Index step) const { return back ? factors() - 1 - step : step; }
};

// Does a chain's pass fit into one launch? See multiply_chain.
bool chain_fits(const ChainArguments& chain);

// All factors in one launch, and one that turns the weights. `in` is what the first one multiplies, `between` [M - 1,
// B, N, D] what stands between the factors, in the order of the factors (undefined: not kept), `out` behind the last
// one.
void multiply_chain(const Way& way, const Tensor& in, Tensor& between, Tensor& out);

// One factor: the step-th of the way. `total` [B, N, D], of a fixed residual on the way back, is the sum of what the
// steps multiplied.
void multiply_factor(const Way& way, Index step, const Tensor& in, Tensor& total, Tensor& out);

// dweights [F, B, N, L] of factors [first, first + F): rows of `ups` times rows of `froms`. Of the first of these
// factors V_{m-1} is `from`, of the last one the gradient of V_m is `up`; those of the others stand in a row in `froms`
// and `ups`, which are undefined when F is 1.
struct Dots {
  Tensor from, froms;  // [B, N, D], [F - 1, B, N, D]
  Tensor ups, up;      // [F - 1, B, N, D], [B, N, D]
};
void dot_rows(const ChainArguments& chain, Index first, const Dots& dots, Tensor& dweights);

}  // namespace subquad::kernels::cuda
