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

Shape with_steps(const Tensor& a, int iterations) {
  std::vector<Index> extents = {iterations};
  extents.insert(extents.end(), a.shape().begin(), a.shape().end());
  return Shape(extents);
}

// Of so many products of matrices in each iteration.
Flops work(const Tensor& a, const PinvOptions& options, int products) {
  return {2.0 * products * options.iterations * static_cast<double>(a.size()) * static_cast<double>(a.dim(-1))};
}

}  // namespace

PinvOutput pinv(const Tensor& a, const PinvOptions& options) {
  check_matrices("pinv", a, options);
  PinvOutput result{empty_like(a), empty(with_steps(a, options.iterations), a.dtype(), a.device())};
  on_device(
      a.device(), [&](auto) { cpu::pinv(a, options, result); }, [&](auto) { cuda::pinv(a, options, result); },
      work(a, options, 4));
  return result;
}

Tensor pinv_grad(const Tensor& dout, const Tensor& a, const Tensor& steps, const PinvOptions& options) {
  constexpr const char* kOp = "pinv_grad";
  check_matrices(kOp, a, options);
  check_shape(kOp, "dout", dout, a.shape());
  check_alike(kOp, "a", a, "dout", dout);
  check_shape(kOp, "steps", steps, with_steps(a, options.iterations));
  check_alike(kOp, "a", a, "steps", steps);
  Tensor da = empty_like(a);
  on_device(
      a.device(), [&](auto) { cpu::pinv_grad(dout, a, steps, options, da); },
      [&](auto) { cuda::pinv_grad(dout, a, steps, options, da); }, work(a, options, 11));
  return da;
}

}  // namespace subquad::kernels
