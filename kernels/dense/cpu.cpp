#include "subquad/kernels/dense/cpu.h"

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/bias_act_dropout/cpu.h"
#include "subquad/kernels/linear/rows.h"
#include "subquad/kernels/matmul/cpu.h"

namespace subquad::kernels::cpu {

namespace {

constexpr Index kMostGroups = 8;  // that add gradients of their own

Tensor rows_of(const Tensor& t, Index begin, Index end) {
  return t.defined() ? t.slice(0, begin, end) : Tensor();
}

}  // namespace

DenseBlocks::DenseBlocks(Index all, const Tensor& weight) : rows(all), block(rows_in_l2(all, weight)) {
  static_assert(256 % kRowsPerChunk == 0, "a block's shares of dbias are its own");
  const Index blocks = (rows + block - 1) / block;
  group = (blocks + kMostGroups - 1) / kMostGroups * block;
}

void dense(const Tensor& x, const Tensor& weight, const Tensor& bias, const DenseOptions& o, const Tensor& residual,
           Index positions, Tensor& product, Tensor& out, Tensor& kept) {
  for_rows_in_l2(x.dim(0), weight, 1, [&](Index begin, Index end) {
    Tensor to = rows_of(out, begin, end), z = product.defined() ? rows_of(product, begin, end) : to;
    matmul(rows_of(x, begin, end), weight, {}, 1, 0, z);
    bias_act_dropout(z, bias, o.activation, o.p, o.rng, {begin, positions}, rows_of(residual, begin, end), to,
                     rows_of(kept, begin, end));
  });
}

void dense_grad(const Tensor& dout, const Tensor& x, const Tensor& weight, const Tensor& bias, const DenseOptions& o,
                const Dense& forward, Index positions, DenseGrads& grads) {
  const DenseBlocks blocks(x.dim(0), weight);
  const Tensor back = turned(weight);
  parallel_chunks(blocks.rows, blocks.group, weight.size() / 16, [&](Index first, Index last) {
    Tensor scratch = empty({std::min(blocks.block, last - first), weight.dim(1)}, dout.dtype(), dout.device());
    Tensor dweight = grads.dweight.defined() ? grads.dweight.select(0, first / blocks.group) : Tensor();
    for (Index begin = first; begin < last; begin += blocks.block) {
      const Index end = std::min(begin + blocks.block, last);
      const Tensor up = rows_of(dout, begin, end);
      const Tensor z = forward.product.defined() ? rows_of(forward.product, begin, end) : up;  // without one, not read
      Tensor dz = rows_of(scratch, 0, end - begin);
      Tensor dbias = rows_of(grads.dbias, begin / kRowsPerChunk, (end + kRowsPerChunk - 1) / kRowsPerChunk);
      bias_act_dropout_grad(up, z, bias, o.activation, o.p, o.rng, {begin, positions},
                            rows_of(forward.mask.bits, begin, end), dz, dbias);
      Tensor dx = rows_of(grads.dx, begin, end);
      if (dx.defined()) matmul(dz, back, {}, 1, 0, dx);
      if (dweight.defined()) matmul(rows_of(x, begin, end).transpose(0, 1), dz, {}, 1, begin == first ? 0 : 1, dweight);
    }
  });
}

}  // namespace subquad::kernels::cpu
