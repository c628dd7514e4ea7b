#include "subquad/kernels/pinv/pinv.h"

#include "subquad/core/check.h"
#include "subquad/kernels/pinv/cpu.h"
#include "subquad/kernels/pinv/cuda.h"

namespace subquad::kernels {
namespace {

void check_matrices(const char* op, const Tensor& a, const PinvOptions& options) {
  check_float(op, "a", a);
  check_contiguous(op, "a", a);
  if (a.rank() < 2 || a.dim(-1) != a.dim(-2))
    throw ShapeError(cat(op, ": a is ", describe(a), ", expected square matrices [..., M, M]"));
  if (options.iterations < 1) throw Error(cat(op, ": iterations is ", options.iterations, ", expected at least 1"));
}

Shape behind(std::vector<Index> extents, const Tensor& a) {  // [extents ..., a's extents ...]
  extents.insert(extents.end(), a.shape().begin(), a.shape().end());
  return Shape(extents);
}

// Of so many products of matrices in each iteration.
Flops work(const Tensor& a, const PinvOptions& options, int products) {
  return {2.0 * products * options.iterations * static_cast<double>(a.size()) * static_cast<double>(a.dim(-1))};
}

}  // namespace

PinvOutput pinv(const Tensor& a, const PinvOptions& options, bool for_backward) {
  check_matrices("pinv", a, options);
  PinvOutput result{empty_like(a), empty(behind({options.iterations}, a), a.dtype(), a.device()), {}};
  on_device(
      a.device(),
      [&](auto) {
        if (for_backward) result.factors = empty(behind({options.iterations, 3}, a), a.dtype(), a.device());
        cpu::pinv(a, options, result);
      },
      [&](auto) { cuda::pinv(a, options, result); }, work(a, options, 4));
  return result;
}

Tensor pinv_grad(const Tensor& dout, const Tensor& a, const PinvOutput& forward, const PinvOptions& options) {
  constexpr const char* kOp = "pinv_grad";
  check_matrices(kOp, a, options);
  check_shape(kOp, "dout", dout, a.shape());
  check_alike(kOp, "a", a, "dout", dout);
  check_shape(kOp, "steps", forward.steps, behind({options.iterations}, a));
  check_alike(kOp, "a", a, "steps", forward.steps);
  if (a.device().is_cpu()) {
    check_shape(kOp, "factors", forward.factors, behind({options.iterations, 3}, a));
    check_alike(kOp, "a", a, "factors", forward.factors);
  }
  Tensor da = empty_like(a);
  on_device(
      a.device(), [&](auto) { cpu::pinv_grad(dout, a, forward, options, da); },
      [&](auto) { cuda::pinv_grad(dout, a, forward.steps, options, da); },
      work(a, options, a.device().is_cpu() ? 8 : 11));
  return da;
}

}  // namespace subquad::kernels
