#include "subquad/autograd/ops/elementwise.h"

#include <limits>

#include "subquad/autograd/record.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The gradients of add, maximum, where ...: dout where `cond` holds, 0 elsewhere (or the other way round).
Tensor where_true(const Tensor& cond, const Tensor& dout) {
  return kernels::where(cond, dout, zeros({}, dout.dtype(), dout.device()));
}
Tensor where_false(const Tensor& cond, const Tensor& dout) {
  return kernels::where(cond, zeros({}, dout.dtype(), dout.device()), dout);
}

// out = cond ? a : b, each element from one operand, which gets its gradient.
Variable record_choice(const char* op, const Tensor& out, const Tensor& cond, const Variable& a, const Variable& b) {
  return record(op, out, {a, b}, [cond = Saved(cond), a = a.shape(), b = b.shape()](const Tensor& dout, Grads& grads) {
    if (grads.wanted(0)) grads.add(0, kernels::sum_to(where_true(cond, dout), a));
    if (grads.wanted(1)) grads.add(1, kernels::sum_to(where_false(cond, dout), b));
  });
}

// x with `number` in the place of NaN.
Tensor without_nan(const Tensor& x, double number) {
  return kernels::where(kernels::not_equal(x, x), full({}, number, x.dtype(), x.device()), x);
}

}  // namespace

Variable add(const Variable& a, const Variable& b) {
  return record("add", kernels::add(a.value(), b.value()), {a, b},
                [a = a.shape(), b = b.shape()](const Tensor& dout, Grads& grads) {
                  if (grads.wanted(0)) grads.add(0, kernels::sum_to(dout, a));
                  if (grads.wanted(1)) grads.add(1, kernels::sum_to(dout, b));
                });
}

Variable sub(const Variable& a, const Variable& b) {
  return record("sub", kernels::sub(a.value(), b.value()), {a, b},
                [a = a.shape(), b = b.shape()](const Tensor& dout, Grads& grads) {
                  if (grads.wanted(0)) grads.add(0, kernels::sum_to(dout, a));
                  if (grads.wanted(1)) grads.add(1, kernels::neg(kernels::sum_to(dout, b)));
                });
}

Variable mul(const Variable& a, const Variable& b) {
  return record("mul", kernels::mul(a.value(), b.value()), {a, b},
                [a = Saved(a), b = Saved(b)](const Tensor& dout, Grads& grads) {
                  if (grads.wanted(0)) grads.add(0, kernels::sum_to(kernels::mul(dout, b), a.get().shape()));
                  if (grads.wanted(1)) grads.add(1, kernels::sum_to(kernels::mul(dout, a), b.get().shape()));
                });
}

Variable div(const Variable& a, const Variable& b) {
  Tensor out = kernels::div(a.value(), b.value());
  // da = dout / b      db = -dout a / b^2 = -(dout / b) out
  return record("div", out, {a, b}, [a = a.shape(), b = Saved(b), out = Saved(out)](const Tensor& dout, Grads& grads) {
    const Tensor da = kernels::div(dout, b);
    if (grads.wanted(0)) grads.add(0, kernels::sum_to(da, a));
    if (grads.wanted(1)) grads.add(1, kernels::neg(kernels::sum_to(kernels::mul(da, out), b.get().shape())));
  });
}

Variable maximum(const Variable& a, const Variable& b) {
  const Tensor a_wins = kernels::greater_equal(without_nan(a.value(), kInfinity), b.value());
  return record_choice("maximum", kernels::maximum(a.value(), b.value()), a_wins, a, b);
}

Variable minimum(const Variable& a, const Variable& b) {
  const Tensor a_wins = kernels::less_equal(without_nan(a.value(), -kInfinity), b.value());
  return record_choice("minimum", kernels::minimum(a.value(), b.value()), a_wins, a, b);
}

Variable where(const Tensor& cond, const Variable& a, const Variable& b) {
  return record_choice("where", kernels::where(cond, a.value(), b.value()), cond, a, b);
}

Variable neg(const Variable& x) {
  return record("neg", kernels::neg(x.value()), {x},
                [](const Tensor& dout, Grads& grads) { grads.add(0, kernels::neg(dout)); });
}

Variable exp(const Variable& x) {
  Tensor out = kernels::exp(x.value());
  return record("exp", out, {x}, [out = Saved(out)](const Tensor& dout, Grads& grads) {  // dx = dout out
    grads.add(0, kernels::mul(dout, out));
  });
}

Variable log(const Variable& x) {
  return record("log", kernels::log(x.value()), {x}, [x = Saved(x)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::div(dout, x));  // dx = dout / x
  });
}

Variable sqrt(const Variable& x) {
  Tensor out = kernels::sqrt(x.value());
  return record("sqrt", out, {x}, [out = Saved(out)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::div(kernels::mul_scalar(dout, 0.5), out));  // dx = dout / (2 out)
  });
}

Variable rsqrt(const Variable& x) {
  Tensor out = kernels::rsqrt(x.value());
  return record("rsqrt", out, {x}, [out = Saved(out)](const Tensor& dout, Grads& grads) {
    const Tensor cube = kernels::mul(kernels::square(out), out);
    grads.add(0, kernels::mul_scalar(kernels::mul(dout, cube), -0.5));  // dx = -dout out^3 / 2
  });
}

Variable tanh(const Variable& x) {
  Tensor out = kernels::tanh(x.value());
  return record("tanh", out, {x}, [out = Saved(out)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::sub(dout, kernels::mul(dout, kernels::square(out))));  // dx = dout (1 - out^2)
  });
}

Variable sigmoid(const Variable& x) {
  Tensor out = kernels::sigmoid(x.value());
  return record("sigmoid", out, {x}, [out = Saved(out)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::mul(dout, kernels::sub(out, kernels::square(out))));  // dx = dout out (1 - out)
  });
}

Variable relu(const Variable& x) {
  return record("relu", kernels::relu(x.value()), {x},
                [x = Saved(x)](const Tensor& dout, Grads& grads) { grads.add(0, kernels::relu_grad(dout, x)); });
}

Variable gelu(const Variable& x) {
  return record("gelu", kernels::gelu(x.value()), {x},
                [x = Saved(x)](const Tensor& dout, Grads& grads) { grads.add(0, kernels::gelu_grad(dout, x)); });
}

Variable abs(const Variable& x) {
  return record("abs", kernels::abs(x.value()), {x}, [x = Saved(x)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::mul(dout, kernels::sign(x)));
  });
}

Variable square(const Variable& x) {
  return record("square", kernels::square(x.value()), {x}, [x = Saved(x)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::mul_scalar(kernels::mul(dout, x), 2));
  });
}

Variable reciprocal(const Variable& x) {
  Tensor out = kernels::reciprocal(x.value());
  return record("reciprocal", out, {x}, [out = Saved(out)](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::neg(kernels::mul(dout, kernels::square(out))));  // dx = -dout / x^2
  });
}

Variable add_scalar(const Variable& x, double number) {
  return record("add_scalar", kernels::add_scalar(x.value(), number), {x},
                [](const Tensor& dout, Grads& grads) { grads.add(0, dout); });
}

Variable mul_scalar(const Variable& x, double number) {
  return record("mul_scalar", kernels::mul_scalar(x.value(), number), {x},
                [number](const Tensor& dout, Grads& grads) { grads.add(0, kernels::mul_scalar(dout, number)); });
}

Variable pow_scalar(const Variable& x, double exponent) {
  return record("pow_scalar", kernels::pow_scalar(x.value(), exponent), {x},
                [x = Saved(x), exponent](const Tensor& dout, Grads& grads) {
                  if (exponent == 0) return grads.add(0, zeros_like(dout));  // 0 * x^-1 would be NaN at x = 0
                  const Tensor slope = kernels::mul_scalar(kernels::pow_scalar(x, exponent - 1), exponent);
                  grads.add(0, kernels::mul(dout, slope));  // dx = dout p x^(p - 1)
                });
}

}  // namespace subquad
