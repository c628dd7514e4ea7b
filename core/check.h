// Argument checks at the door of every kernel: one wording for all of them. `op` and `name` go into the message.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad {

// Each throws ShapeError, DTypeError or DeviceError: "op: name is [2, 3] float32 cpu, expected ...".
void check_defined(const char* op, const char* name, const Tensor& t);
void check_rank(const char* op, const char* name, const Tensor& t, int rank);
void check_shape(const char* op, const char* name, const Tensor& t, const Shape& expected);
void check_dtype(const char* op, const char* name, const Tensor& t, DType expected);
void check_contiguous(const char* op, const char* name, const Tensor& t);
void check_float(const char* op, const char* name, const Tensor& t);  // float32 or float64

// Same dtype and device, both contiguous.
void check_alike(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b);
// Same dtype and device only.
void check_same_kind(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b);
// Same device only.
void check_same_device(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b);

// "[2, 3] float32 cpu": how messages describe a tensor.
std::string describe(const Tensor& t);

}  // namespace subquad
