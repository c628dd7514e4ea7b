#include "subquad/kernels/factor_mlp/cuda.h"

#include "subquad/kernels/factor_mlp/cuda_plain.h"
#include "subquad/kernels/factor_mlp/cuda_tensor_core.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::kernels::cuda {

namespace {

// [M, I, H] -> [M, H, I]: the weights of a hidden unit beside each other.
Tensor turned(const Tensor& first) {
  return first.transpose(1, 2).contiguous();
}

// set: [GradSet::size]
FactorMlp unpack(const Tensor& set, const MlpSizes& s) {
  const GradSet at(s);
  const auto part = [&](Index start, const Shape& shape) {
    Index count = 1;
    for (int d = 0; d < shape.rank(); ++d) count *= shape[d];
    return set.slice(0, start, start + count).reshape(shape);
  };
  return {part(at.first, {s.factors, s.inputs, s.hidden}), part(at.first_bias, {s.factors, s.hidden}),
          part(at.second, {s.factors, s.hidden, s.outputs}), part(at.second_bias, {s.factors, s.outputs})};
}

}  // namespace

void factor_mlp(const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& out) {
  if (out.size() == 0) return;
  if (fits_tensor_cores(x, mlp)) return factor_mlp_tensor_core(x, mlp, turned(mlp.first), mask, out);
  factor_mlp_plain(x, mlp, mask, out);
}

void factor_mlp_grad(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx,
                     FactorMlp& grads) {
  const MlpSizes s(x, mlp);
  const GradSet set(s);
  if (dout.size() == 0) {
    if (dx.defined()) fill(dx, 0);
    grads = unpack(zeros({set.size}, x.dtype(), x.device(), "factor_mlp_grad"), s);
    return;
  }
  const bool fits = fits_tensor_cores(x, mlp);
  const Index chunks = (fits ? factor_mlp_tensor_core_chunks(x, mlp) : factor_mlp_plain_chunks(x, mlp)).count;
  Tensor sets = empty({chunks, set.size}, x.dtype(), x.device(), "factor_mlp_grad");
  if (fits) {
    const Tensor first = turned(mlp.first);
    if (dx.defined()) factor_mlp_tensor_core_dx(dout, x, mlp, first, mask, dx);
    factor_mlp_tensor_core_grads(dout, x, mlp, first, mask, sets);
  } else {
    if (dx.defined()) factor_mlp_plain_dx(dout, x, mlp, mask, dx);
    factor_mlp_plain_grads(dout, x, mlp, mask, sets);
  }
  grads = unpack(chunks == 1 ? sets.squeeze(0) : sum(sets, {0}), s);
}

}  // namespace subquad::kernels::cuda
