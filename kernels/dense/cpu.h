// CPU bodies of dense.h. Arguments are checked and results allocated by the caller; there is at least one element.
#pragma once

#include "subquad/kernels/dense/dense.h"

namespace subquad::kernels::cpu {

// How rows are cut: into blocks, whose products stay in L2, and a few groups of blocks, which add up gradients.
struct DenseBlocks {
  DenseBlocks(Index rows, const Tensor& weight);
  Index rows, block, group;  // how many in all, of a block, of a group
  Index groups() const { return (rows + group - 1) / group; }
};

// x, residual and results as rows: [rows, I], [rows, O]. `product` may be undefined: it then stands in `out` only.
void dense(const Tensor& x, const Tensor& weight, const Tensor& bias, const DenseOptions& options,
           const Tensor& residual, Index positions, Tensor& product, Tensor& out, Tensor& kept);

// `forward` as rows, too. dx, dweight [groups, I, O] and dbias [.., O] may be undefined, but for dbias with a bias.
void dense_grad(const Tensor& dout, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const DenseOptions& options, const Dense& forward, Index positions, DenseGrads& grads);

}  // namespace subquad::kernels::cpu
