#include "subquad/core/dtype.h"

#include <ostream>

namespace subquad {

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case kFloat32: return "float32";
    case kFloat64: return "float64";
    case kBFloat16: return "bfloat16";
    case kInt32: return "int32";
    case kInt64: return "int64";
    case kUInt8: return "uint8";
    case kBool: return "bool";
    case kComplex64: return "complex64";
    case kComplex128: return "complex128";
  }
  throw InternalError("dtype_name: dtype out of range");
}

std::size_t dtype_bytes(DType dtype) {
  return visit_any(dtype, []<class T>(Type<T>) { return sizeof(T); });
}

std::ostream& operator<<(std::ostream& out, DType dtype) {
  return out << dtype_name(dtype);
}

}  // namespace subquad
