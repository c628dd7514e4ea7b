#include "subquad/kernels/sgd/sgd.h"

#include "subquad/core/check.h"
#include "subquad/kernels/sgd/cpu.h"
#include "subquad/kernels/sgd/cuda.h"

namespace subquad::kernels {

namespace {

void check_scalar(const char* name, const Tensor& t, const Tensor& param) {
  check_dtype("sgd", name, t, kFloat64);
  check_shape("sgd", name, t, {1});
  check_same_device("sgd", "param", param, name, t);
}

void check_options(const SgdOptions& options) {
  if (!(options.momentum >= 0 && options.momentum < 1))
    throw Error(cat("sgd: momentum is ", options.momentum, ", expected in [0, 1)"));
  if (!(options.weight_decay >= 0))
    throw Error(cat("sgd: weight_decay is ", options.weight_decay, ", expected at least 0"));
  if (options.nesterov && options.momentum == 0)
    throw Error("sgd: nesterov without momentum, expected momentum above 0");
}

}  // namespace

void sgd(Tensor& param, const Tensor& grad, Tensor& velocity, const Tensor& rate, const Tensor& grad_scale,
         const SgdOptions& options) {
  check_float("sgd", "param", param);
  check_alike("sgd", "param", param, "grad", grad);
  check_shape("sgd", "grad", grad, param.shape());
  check_scalar("rate", rate, param);
  if (grad_scale.defined()) check_scalar("grad_scale", grad_scale, param);
  check_options(options);
  if (options.momentum != 0) {
    check_alike("sgd", "param", param, "velocity", velocity);
    check_shape("sgd", "velocity", velocity, param.shape());
  }
  on_device(
      param.device(), [&](auto) { cpu::sgd(param, grad, velocity, rate, grad_scale, options); },
      [&](auto) { cuda::sgd(param, grad, velocity, rate, grad_scale, options); });
  param.bump_version();
  if (options.momentum != 0) velocity.bump_version();
}

}  // namespace subquad::kernels
