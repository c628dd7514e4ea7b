#include "subquad/autograd/ops/compact.h"

#include "subquad/autograd/record.h"

namespace subquad {
namespace {

using Move = Tensor (*)(const Tensor& x, const Mask& mask, int dim);

Variable moved(const char* op, const Variable& x, const Mask& mask, int dim, Move move, Move back) {
  const Tensor out = move(x.value(), mask, dim);
  if (!mask.defined() || mask.prefix) return x;
  return record(op, out, {x},
                [real = Saved(mask.real), lengths = Saved(mask.lengths), dim, back](const Tensor& dout, Grads& grads) {
                  grads.add(0, back(dout, {real, lengths, false}, dim));
                });
}

}  // namespace

Variable compact(const Variable& x, const Mask& mask, int dim) {
  return moved("compact", x, mask, dim, kernels::compact, kernels::spread);
}

Variable spread(const Variable& x, const Mask& mask, int dim) {
  return moved("spread", x, mask, dim, kernels::spread, kernels::compact);
}

}  // namespace subquad
