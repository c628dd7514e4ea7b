#include "subquad/nn/butterfly_linear.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"

namespace subquad::nn {

namespace {

Index power_of_two(Index inputs, Index outputs) {
  if (inputs < 1 || outputs < 1)
    throw Error(cat("butterfly_linear: ", inputs, " inputs and ", outputs, " outputs, expected at least 1 of each"));
  return static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(std::max<Index>({inputs, outputs, 2}))));
}

}  // namespace

ButterflyLinear::ButterflyLinear(const Place& place, Index inputs, Index outputs, bool bias)
    : Module(place), inputs_(inputs), outputs_(outputs), size_(power_of_two(inputs, outputs)) {
  for (Index distance = 1; distance < size_; distance *= 2) links_.push_back(kernels::butterfly_links(distance));
  weight_ = parameter("weight", {static_cast<Index>(links_.size()), size_, 2}, normal_init(std::sqrt(0.5)));
  if (bias) bias_ = parameter("bias", {outputs}, zeros_init());
}

Variable ButterflyLinear::operator()(const Variable& x) const {
  const ModuleScope scope = enter();
  if (x.rank() < 1 || x.dim(-1) != inputs_)
    throw ShapeError(cat("butterfly_linear: x is ", describe(x.value()), ", expected [..., ", inputs_, "]"));
  const Index rows = x.value().size() / inputs_;
  Variable columns = transpose(reshape(contiguous(x), {rows, inputs_}), 0, 1);  // [inputs, rows]
  if (inputs_ < size_) columns = concat({columns, Variable(zeros({size_ - inputs_, rows}, x.dtype(), x.device()))}, 0);
  const Variable mixed = chord_chain(weight_, unsqueeze(contiguous(columns), 0), links_, MixResidual::none);
  const Variable out = contiguous(transpose(slice(squeeze(mixed, 0), 0, 0, outputs_), 0, 1));  // [rows, outputs]
  const Variable shaped = reshape(out, x.shape().with(x.rank() - 1, outputs_));
  return bias_.defined() ? add(shaped, bias_) : shaped;
}

}  // namespace subquad::nn
