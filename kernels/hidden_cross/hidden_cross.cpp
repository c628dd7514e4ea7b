#include "subquad/kernels/hidden_cross/hidden_cross.h"

#include "subquad/core/check.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/hidden_cross/cpu.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& a, const Tensor& b, const Mask& mask) {
  check_rank(op, "a", a, 3);
  check_float(op, "a", a);
  check_shape(op, "b", b, a.shape());
  check_alike(op, "a", a, "b", b);
  check_on_cpu(op, "a", a);
  check_prefix_mask(op, mask, a.dim(0), a.dim(1));
}

void check_upstream(const char* op, const char* name, const Tensor& dout, const Tensor& a) {
  if (!dout.defined()) return;
  check_shape(op, name, dout, a.shape());
  check_alike(op, "a", a, name, dout);
}

}  // namespace

HiddenCross hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask) {
  check_inputs("hidden_cross", a, b, mask);
  HiddenCross out = {empty_like(a), empty_like(a)};
  cpu::hidden_cross(a, b, mask, out);
  return out;
}

HiddenCrossGrads hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b,
                                   const Mask& mask) {
  constexpr const char* kOp = "hidden_cross_grad";
  check_inputs(kOp, a, b, mask);
  check_upstream(kOp, "dlag", dlag, a);
  check_upstream(kOp, "dcol", dcol, a);
  HiddenCrossGrads grads = {empty_like(a), empty_like(a)};
  cpu::hidden_cross_grad(dlag.defined() ? dlag : zeros_like(a), dcol.defined() ? dcol : zeros_like(a), a, b, mask,
                         grads);
  return grads;
}

}  // namespace subquad::kernels
