// How an element of one dtype becomes one of another: the rules of copy(), on every device.
#pragma once

#include "subquad/core/dtype.h"

namespace subquad {

template <class T>
constexpr bool kIsComplex = std::same_as<T, std::complex<float>> || std::same_as<T, std::complex<double>>;

template <class To, class From>
constexpr To convert(From value) {
  if constexpr (std::same_as<To, From>)
    return value;
  else if constexpr (std::same_as<From, BFloat16>)
    return convert<To>(static_cast<float>(value));
  else if constexpr (kIsComplex<From>)
    return To(static_cast<typename To::value_type>(value.real()), static_cast<typename To::value_type>(value.imag()));
  else if constexpr (kIsComplex<To>)
    return To(static_cast<typename To::value_type>(value));
  else if constexpr (std::same_as<To, BFloat16>)
    return BFloat16(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

}  // namespace subquad
