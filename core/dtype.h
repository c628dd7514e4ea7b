// Element types.
#pragma once

#include <bit>
#include <complex>
#include <concepts>
#include <cstdint>
#include <iosfwd>
#include <string_view>

#include "subquad/core/error.h"

namespace subquad {

// Storage form of a bfloat16: the upper half of a float32. Conversion rounds to nearest even and keeps NaN a NaN.
struct BFloat16 {
  std::uint16_t bits = 0;

  BFloat16() = default;
  constexpr explicit BFloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(is_nan ? (word >> 16) | 0x40u : (word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

enum class DType : std::uint8_t { float32, float64, bfloat16, int32, int64, uint8, boolean, complex64, complex128 };

inline constexpr DType kFloat32 = DType::float32;
inline constexpr DType kFloat64 = DType::float64;
inline constexpr DType kBFloat16 = DType::bfloat16;
inline constexpr DType kInt32 = DType::int32;
inline constexpr DType kInt64 = DType::int64;
inline constexpr DType kUInt8 = DType::uint8;
inline constexpr DType kBool = DType::boolean;
inline constexpr DType kComplex64 = DType::complex64;
inline constexpr DType kComplex128 = DType::complex128;

std::string_view dtype_name(DType dtype);  // "float32", "bool", ...
std::size_t dtype_bytes(DType dtype);      // bytes per element
std::ostream& operator<<(std::ostream& out, DType dtype);

inline bool is_floating(DType dtype) {
  return dtype == kFloat32 || dtype == kFloat64 || dtype == kBFloat16;
}
inline bool is_complex(DType dtype) {
  return dtype == kComplex64 || dtype == kComplex128;
}

// Carries a type as a value: visit_float(op, dtype, []<class T>(Type<T>) { ... }).
template <class T>
struct Type {
  using type = T;
};

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::same_as<T, float>)
    return kFloat32;
  else if constexpr (std::same_as<T, double>)
    return kFloat64;
  else if constexpr (std::same_as<T, BFloat16>)
    return kBFloat16;
  else if constexpr (std::same_as<T, std::int32_t>)
    return kInt32;
  else if constexpr (std::same_as<T, std::int64_t>)
    return kInt64;
  else if constexpr (std::same_as<T, std::uint8_t>)
    return kUInt8;
  else if constexpr (std::same_as<T, bool>)
    return kBool;
  else if constexpr (std::same_as<T, std::complex<float>>)
    return kComplex64;
  else if constexpr (std::same_as<T, std::complex<double>>)
    return kComplex128;
  else
    static_assert(sizeof(T) == 0, "not an element type of subquad");
}

// Calls f(Type<float>) or f(Type<double>); any other dtype is a DTypeError that names `op`.
template <class F>
decltype(auto) visit_float(const char* op, DType dtype, F&& f) {
  if (dtype == kFloat32) return f(Type<float>{});
  if (dtype == kFloat64) return f(Type<double>{});
  throw DTypeError(cat(op, ": dtype ", dtype_name(dtype), ", expected float32 or float64"));
}

// Calls f with the element type, whichever it is.
template <class F>
decltype(auto) visit_any(DType dtype, F&& f) {
  switch (dtype) {
    case kFloat32: return f(Type<float>{});
    case kFloat64: return f(Type<double>{});
    case kBFloat16: return f(Type<BFloat16>{});
    case kInt32: return f(Type<std::int32_t>{});
    case kInt64: return f(Type<std::int64_t>{});
    case kUInt8: return f(Type<std::uint8_t>{});
    case kBool: return f(Type<bool>{});
    case kComplex64: return f(Type<std::complex<float>>{});
    case kComplex128: return f(Type<std::complex<double>>{});
  }
  throw InternalError("visit_any: dtype out of range");
}

}  // namespace subquad
