#include "subquad/core/check.h"

namespace subquad {

std::string describe(const Tensor& t) {
  if (!t.defined()) return "undefined";
  return cat(t.shape(), ' ', t.dtype(), ' ', t.device());
}

void check_defined(const char* op, const char* name, const Tensor& t) {
  if (!t.defined()) throw Error(cat(op, ": ", name, " is undefined"));
}

void check_rank(const char* op, const char* name, const Tensor& t, int rank) {
  check_defined(op, name, t);
  if (t.rank() != rank) throw ShapeError(cat(op, ": ", name, " is ", describe(t), ", expected rank ", rank));
}

void check_shape(const char* op, const char* name, const Tensor& t, const Shape& expected) {
  check_defined(op, name, t);
  if (t.shape() != expected) throw ShapeError(cat(op, ": ", name, " is ", describe(t), ", expected shape ", expected));
}

void check_dtype(const char* op, const char* name, const Tensor& t, DType expected) {
  check_defined(op, name, t);
  if (t.dtype() != expected) throw DTypeError(cat(op, ": ", name, " is ", describe(t), ", expected ", expected));
}

void check_contiguous(const char* op, const char* name, const Tensor& t) {
  check_defined(op, name, t);
  if (!t.is_contiguous())
    throw ShapeError(cat(op, ": ", name, " is ", describe(t), " with strides ", t.strides(), ", expected contiguous"));
}

void check_float(const char* op, const char* name, const Tensor& t) {
  check_defined(op, name, t);
  if (t.dtype() != kFloat32 && t.dtype() != kFloat64)
    throw DTypeError(cat(op, ": ", name, " is ", describe(t), ", expected float32 or float64"));
}

void check_same_device(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  check_defined(op, name_a, a);
  check_defined(op, name_b, b);
  if (a.device() != b.device())
    throw DeviceError(cat(op, ": ", name_b, " is ", describe(b), ", expected on ", a.device(), " like ", name_a));
}

void check_same_kind(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  check_defined(op, name_a, a);
  check_defined(op, name_b, b);
  if (a.dtype() != b.dtype())
    throw DTypeError(cat(op, ": ", name_b, " is ", describe(b), ", expected ", a.dtype(), " like ", name_a));
  check_same_device(op, name_a, a, name_b, b);
}

void check_alike(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  check_same_kind(op, name_a, a, name_b, b);
  check_contiguous(op, name_a, a);
  check_contiguous(op, name_b, b);
}

}  // namespace subquad
