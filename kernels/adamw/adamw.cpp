#include "subquad/kernels/adamw/adamw.h"

#include "subquad/core/check.h"
#include "subquad/kernels/adamw/cpu.h"
#include "subquad/kernels/adamw/cuda.h"

namespace subquad::kernels {

namespace {

void check_scalar(const char* name, const Tensor& t, DType dtype, const Tensor& param) {
  check_dtype("adamw", name, t, dtype);
  check_shape("adamw", name, t, {1});
  check_same_device("adamw", "param", param, name, t);
}

void check_moment(const char* name, const Tensor& t, const Tensor& param) {
  check_alike("adamw", "param", param, name, t);
  check_shape("adamw", name, t, param.shape());
}

void check_options(const AdamWOptions& options) {
  const auto is_fraction = [](double beta) { return beta >= 0 && beta < 1; };
  if (!is_fraction(options.beta1) || !is_fraction(options.beta2))
    throw Error(cat("adamw: beta1 is ", options.beta1, " and beta2 is ", options.beta2, ", expected both in [0, 1)"));
  if (!(options.epsilon > 0)) throw Error(cat("adamw: epsilon is ", options.epsilon, ", expected above 0"));
  if (!(options.weight_decay >= 0))
    throw Error(cat("adamw: weight_decay is ", options.weight_decay, ", expected at least 0"));
}

}  // namespace

void adamw(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, const Tensor& step, const Tensor& rate,
           const Tensor& grad_scale, const AdamWOptions& options, const Tensor& beta1) {
  check_float("adamw", "param", param);
  check_moment("grad", grad, param);
  check_moment("m", m, param);
  check_moment("v", v, param);
  check_scalar("step", step, kInt64, param);
  check_scalar("rate", rate, kFloat64, param);
  if (grad_scale.defined()) check_scalar("grad_scale", grad_scale, kFloat64, param);
  if (beta1.defined()) check_scalar("beta1", beta1, kFloat64, param);
  check_options(options);
  on_device(
      param.device(), [&](auto) { cpu::adamw(param, grad, m, v, step, rate, grad_scale, options, beta1); },
      [&](auto) { cuda::adamw(param, grad, m, v, step, rate, grad_scale, options, beta1); });
  param.bump_version();
  m.bump_version();
  v.bump_version();
}

}  // namespace subquad::kernels
