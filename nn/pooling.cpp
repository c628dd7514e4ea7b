#include "subquad/nn/pooling.h"

#include <algorithm>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/nn/choice.h"
#include "subquad/nn/real_rows.h"

namespace subquad::nn {

namespace {

constexpr Choices<Pooling, 3> kPoolings = {
    {{"mean", Pooling::mean}, {"cls", Pooling::cls}, {"flatten", Pooling::flatten}}};

// 1 / lengths[b] as [B, 1], made where the lengths are; a sample without positions counts as one of length 1.
Variable reciprocals(const Tensor& lengths, DType dtype) {
  const Tensor counts = kernels::maximum(lengths.to(kFloat64), full({1}, 1, kFloat64, lengths.device()));
  return Variable(kernels::reciprocal(counts).to(dtype).unsqueeze(1));
}

}  // namespace

Pooling parse_pooling(std::string_view name) {
  return choose("pooling", kPoolings, name);
}

std::string_view pooling_name(Pooling pooling) {
  return name_of(kPoolings, pooling);
}

Variable pool_mean(const Variable& x, const Mask& mask, Index divisor) {
  check_rank("pool_mean", "x", x.value(), 3);
  check_mask("pool_mean", mask, x.dim(0), x.dim(1));
  const Variable total = sum(real_rows(x, mask), {1});  // [B, D]
  if (divisor > 0) return mul_scalar(total, 1.0 / static_cast<double>(divisor));
  if (!mask.defined()) return mul_scalar(total, 1.0 / static_cast<double>(std::max<Index>(x.dim(1), 1)));
  return mul(total, reciprocals(mask.lengths, x.dtype()));
}

Variable pool_cls(const Variable& x) {
  check_rank("pool_cls", "x", x.value(), 3);
  return select(x, 1, 0);
}

Variable pool_flatten(const Variable& x, const Mask& mask, Index max_length) {
  check_rank("pool_flatten", "x", x.value(), 3);
  check_mask("pool_flatten", mask, x.dim(0), x.dim(1));
  const Index batch = x.dim(0), positions = x.dim(1), width = x.dim(2);
  if (positions > max_length)
    throw ShapeError(cat("pool_flatten: x is ", describe(x.value()), ", expected at most ", max_length, " positions"));
  Variable all = real_rows(x, mask);
  if (positions < max_length) {
    const Variable rest(zeros({batch, max_length - positions, width}, x.dtype(), x.device()));
    all = concat({all, rest}, 1);  // [B, max_length, D]
  }
  return reshape(all, {batch, max_length * width});
}

}  // namespace subquad::nn
