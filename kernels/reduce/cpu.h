// The CPU bodies of kernels/reduce, on the one form that every reduction is brought into: x [A, R, K], reduced over the
// middle axis. All tensors contiguous, but for the x of a
// sum: there only K is, and R where K is 1.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

// Rows added one after the other; longer sums are cut, and the block sums summed again.
inline constexpr Index kSumBlock = 1024;
inline constexpr Index kStripColumns = 1024;  // of one task: their results stay in the first-level cache

void sum(const Tensor& x, Tensor& out);                                // [A, R, K] -> [A, K]
void max(const Tensor& x, Tensor& values, Tensor& indices);            // [A, R, K] -> [A, K]; R >= 1
void max_grad(const Tensor& dout, const Tensor& indices, Tensor& dx);  // [A, K] -> [A, R, K]

}  // namespace subquad::kernels::cpu
