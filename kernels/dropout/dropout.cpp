#include "subquad/kernels/dropout/dropout.h"

#include "subquad/core/check.h"
#include "subquad/kernels/dropout/cpu.h"
#include "subquad/kernels/dropout/cuda.h"

namespace subquad::kernels {
namespace {

Tensor dropped(const char* op, const char* name, const Tensor& x, double probability, const RandomState& random) {
  check_float(op, name, x);
  check_contiguous(op, name, x);
  if (x.rank() < 2) throw ShapeError(cat(op, ": ", name, " is ", describe(x), ", expected [B, ..., D]"));
  check_dropout(op, probability, random, name, x);
  Tensor out = empty_like(x, op);
  if (probability == 0) {
    copy(x, out);
    return out;
  }
  on_device(
      x.device(), [&](auto) { cpu::dropout(x, probability, random, out); },
      [&](auto) { cuda::dropout(x, probability, random, out); }, op);
  return out;
}

}  // namespace

void check_dropout(const char* op, double probability, const RandomState& random, const char* name, const Tensor& x) {
  if (!(probability >= 0 && probability < 1))
    throw Error(cat(op, ": probability is ", probability, ", expected 0 <= probability < 1"));
  if (probability == 0) return;
  check_dtype(op, "random.step", random.step, kInt64);
  check_shape(op, "random.step", random.step, {1});
  check_dtype(op, "random.samples", random.samples, kInt64);
  check_shape(op, "random.samples", random.samples, {x.dim(0)});
  check_contiguous(op, "random.samples", random.samples);
  check_same_device(op, name, x, "random.step", random.step);
  check_same_device(op, name, x, "random.samples", random.samples);
}

Tensor dropout(const Tensor& x, double probability, const RandomState& random) {
  return dropped("dropout", "x", x, probability, random);
}

Tensor dropout_grad(const Tensor& dout, double probability, const RandomState& random) {
  return dropped("dropout_grad", "dout", dout, probability, random);
}

}  // namespace subquad::kernels
