#include "subquad/kernels/elementwise/elementwise.h"

#include "subquad/core/check.h"
#include "subquad/kernels/elementwise/cpu.h"
#include "subquad/kernels/elementwise/cuda.h"

namespace subquad::kernels {
namespace {

Tensor unary(const char* op, Unary function, const Tensor& x) {
  check_float(op, "x", x);
  Tensor out = empty_like(x, op);
  on_device(
      x.device(), [&](auto) { cpu::unary(function, x, out); }, [&](auto) { cuda::unary(function, x, out); }, op);
  return out;
}

Tensor curve(const char* op, Curve function, const Tensor& x) {
  check_float(op, "x", x);
  Tensor out = empty_like(x, op);
  on_device(
      x.device(), [&](auto) { cpu::curve(function, x, out); }, [&](auto) { cuda::curve(function, x, out); }, op);
  return out;
}

Tensor with_number(const char* op, WithNumber function, const Tensor& x, double number) {
  check_float(op, "x", x);
  Tensor out = empty_like(x, op);
  on_device(
      x.device(), [&](auto) { cpu::with_number(function, x, number, out); },
      [&](auto) { cuda::with_number(function, x, number, out); }, op);
  return out;
}

Tensor binary(const char* op, Binary function, const Tensor& a, const Tensor& b) {
  check_float(op, "a", a);
  check_same_kind(op, "a", a, "b", b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Tensor out = empty(shape, a.dtype(), a.device(), op);
  on_device(
      out.device(), [&](auto) { cpu::binary(function, a.expand(shape), b.expand(shape), out); },
      [&](auto) { cuda::binary(function, a.expand(shape), b.expand(shape), out); }, op);
  return out;
}

void check_number(const char* op, const char* name, const Tensor& t) {
  check_defined(op, name, t);
  if (t.dtype() != kFloat32 && t.dtype() != kFloat64 && t.dtype() != kInt64)
    throw DTypeError(cat(op, ": ", name, " is ", describe(t), ", expected float32, float64 or int64"));
}

Tensor comparison(const char* op, Comparison function, const Tensor& a, const Tensor& b) {
  check_number(op, "a", a);
  check_same_kind(op, "a", a, "b", b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Tensor out = empty(shape, kBool, a.device(), op);
  on_device(
      out.device(), [&](auto) { cpu::comparison(function, a.expand(shape), b.expand(shape), out); },
      [&](auto) { cuda::comparison(function, a.expand(shape), b.expand(shape), out); }, op);
  return out;
}

void check_activation_grad(const char* op, const Tensor& dout, const Tensor& x) {
  check_float(op, "dout", dout);
  check_same_kind(op, "dout", dout, "x", x);
  check_shape(op, "dout", dout, x.shape());
}

// A tensor may be written element by element only if each index has its own element.
void check_writable(const char* op, const Tensor& out) {
  check_float(op, "out", out);
  if (out.size() == 0) return;  // its strides say nothing: [2, 0, 8] has stride 0 in the first dimension
  for (int d = 0; d < out.rank(); ++d)
    if (out.shape()[d] > 1 && out.strides()[d] == 0)
      throw ShapeError(cat(op, ": out is an expanded view ", describe(out), " whose dimension ", d,
                           " has stride 0; expected one element per index"));
}

void check_addend(const char* op, const Tensor& out, const Tensor& x) {
  check_writable(op, out);
  check_same_kind(op, "out", out, "x", x);
  check_shape(op, "x", x, out.shape());
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return binary("add", Binary::add, a, b);
}
Tensor sub(const Tensor& a, const Tensor& b) {
  return binary("sub", Binary::sub, a, b);
}
Tensor mul(const Tensor& a, const Tensor& b) {
  return binary("mul", Binary::mul, a, b);
}
Tensor div(const Tensor& a, const Tensor& b) {
  return binary("div", Binary::div, a, b);
}
Tensor maximum(const Tensor& a, const Tensor& b) {
  return binary("maximum", Binary::maximum, a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return binary("minimum", Binary::minimum, a, b);
}

Tensor equal(const Tensor& a, const Tensor& b) {
  return comparison("equal", Comparison::equal, a, b);
}
Tensor not_equal(const Tensor& a, const Tensor& b) {
  return comparison("not_equal", Comparison::not_equal, a, b);
}
Tensor less(const Tensor& a, const Tensor& b) {
  return comparison("less", Comparison::less, a, b);
}
Tensor less_equal(const Tensor& a, const Tensor& b) {
  return comparison("less_equal", Comparison::less_equal, a, b);
}
Tensor greater(const Tensor& a, const Tensor& b) {
  return comparison("greater", Comparison::greater, a, b);
}
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return comparison("greater_equal", Comparison::greater_equal, a, b);
}

Tensor where(const Tensor& cond, const Tensor& a, const Tensor& b) {
  check_dtype("where", "cond", cond, kBool);
  check_number("where", "a", a);
  check_same_kind("where", "a", a, "b", b);
  check_same_device("where", "a", a, "cond", cond);
  const Shape shape = broadcast_shapes("where", cond.shape(), broadcast_shapes("where", a.shape(), b.shape()));
  Tensor out = empty(shape, a.dtype(), a.device());
  on_device(
      out.device(), [&](auto) { cpu::where(cond.expand(shape), a.expand(shape), b.expand(shape), out); },
      [&](auto) { cuda::where(cond.expand(shape), a.expand(shape), b.expand(shape), out); });
  return out;
}

Tensor neg(const Tensor& x) {
  return unary("neg", Unary::neg, x);
}
Tensor exp(const Tensor& x) {
  return curve("exp", Curve::exp, x);
}
Tensor log(const Tensor& x) {
  return unary("log", Unary::log, x);
}
Tensor sqrt(const Tensor& x) {
  return unary("sqrt", Unary::sqrt, x);
}
Tensor rsqrt(const Tensor& x) {
  return unary("rsqrt", Unary::rsqrt, x);
}
Tensor tanh(const Tensor& x) {
  return curve("tanh", Curve::tanh, x);
}
Tensor sigmoid(const Tensor& x) {
  return curve("sigmoid", Curve::sigmoid, x);
}
Tensor relu(const Tensor& x) {
  return unary("relu", Unary::relu, x);
}
Tensor gelu(const Tensor& x) {
  return curve("gelu", Curve::gelu, x);
}
Tensor abs(const Tensor& x) {
  return unary("abs", Unary::abs, x);
}
Tensor sign(const Tensor& x) {
  return unary("sign", Unary::sign, x);
}
Tensor square(const Tensor& x) {
  return unary("square", Unary::square, x);
}
Tensor reciprocal(const Tensor& x) {
  return unary("reciprocal", Unary::reciprocal, x);
}

Tensor add_scalar(const Tensor& x, double number) {
  return with_number("add_scalar", WithNumber::add, x, number);
}
Tensor mul_scalar(const Tensor& x, double number) {
  return with_number("mul_scalar", WithNumber::mul, x, number);
}
Tensor pow_scalar(const Tensor& x, double exponent) {
  return with_number("pow_scalar", WithNumber::pow, x, exponent);
}

Tensor relu_grad(const Tensor& dout, const Tensor& x) {
  check_activation_grad("relu_grad", dout, x);
  Tensor dx = empty_like(x);
  on_device(
      dx.device(), [&](auto) { cpu::binary(Binary::relu_grad, dout, x, dx); },
      [&](auto) { cuda::binary(Binary::relu_grad, dout, x, dx); });
  return dx;
}
Tensor gelu_grad(const Tensor& dout, const Tensor& x) {
  check_activation_grad("gelu_grad", dout, x);
  Tensor dx = empty_like(x);
  on_device(
      dx.device(), [&](auto) { cpu::gelu_grad(dout, x, dx); }, [&](auto) { cuda::gelu_grad(dout, x, dx); });
  return dx;
}

void add_into(Tensor& out, const Tensor& x) {
  check_addend("add_into", out, x);
  on_device(
      x.device(), [&](auto) { cpu::axpy_into(out, 1.0, x); }, [&](auto) { cuda::axpy_into(out, 1.0, x); });
  out.bump_version();
}

void scale_into(Tensor& out, double factor) {
  check_writable("scale_into", out);
  on_device(
      out.device(), [&](auto) { cpu::scale_into(out, factor); }, [&](auto) { cuda::scale_into(out, factor); });
  out.bump_version();
}

void axpy_into(Tensor& out, double factor, const Tensor& x) {
  check_addend("axpy_into", out, x);
  on_device(
      x.device(), [&](auto) { cpu::axpy_into(out, factor, x); }, [&](auto) { cuda::axpy_into(out, factor, x); });
  out.bump_version();
}

}  // namespace subquad::kernels
