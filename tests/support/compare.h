// Comparing tensors in tests, wherever they live. Expected values are float64, made by slow loops on the CPU;
// tolerances come from dtype and length.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "subquad/autograd/gradcheck.h"
#include "subquad/core/rng.h"
#include "subquad/core/tensor.h"
#include "subquad/tests/support/device.h"

namespace subquad::test {

// Bound on |got - want| / max(1, max |want|) for a sum of `length` products of numbers of order 1: a few roundings of
// the dtype per term, growing like the square root of the length.
double dot_tolerance(DType dtype, Index length);

// For results that are rounded a handful of times.
inline double pointwise_tolerance(DType dtype) {
  return dot_tolerance(dtype, 4);
}

// "" when max |got - want| <= tolerance * max(1, max |want|) and shapes agree; else what differs most and where.
// Infinities must be equal; a NaN never passes.
std::string difference(const Tensor& got, const Tensor& want, double tolerance);
double largest_error(const Tensor& got, const Tensor& want);  // max |got - want| / max(1, max |want|)

bool same_bits(const Tensor& a, const Tensor& b);

// float tensors on device() with draws from the standard normal (uniform in [low, high) for uniform()); seeded.
Tensor normal(const Shape& shape, DType dtype, std::uint64_t seed);
Tensor uniform(const Shape& shape, DType dtype, double low, double high, std::uint64_t seed);

// An input of gradcheck: float64, standard normal, requires a gradient.
Variable leaf(const Shape& shape, std::uint64_t seed);

// A float64 copy on the CPU: what a slow loop reads.
Tensor doubles(const Tensor& t);

// The element at a flat row-major position, as double, whatever the dtype.
double at(const Tensor& t, Index flat);
inline double at(const Tensor& t, std::initializer_list<Index> index) {
  Index flat = 0;
  int d = 0;
  for (const Index i : index) flat = flat * t.shape()[d++] + i;
  return at(t, flat);
}

// Calls f with each float dtype that kernels take.
inline void for_each_float(const std::function<void(DType)>& f) {
  for (const DType dtype : {kFloat32, kFloat64}) f(dtype);
}

// Runs f with every SIMD target that this processor offers, then restores the one that was in use. Once on other
// devices.
void for_each_simd_target(const std::function<void()>& f);

}  // namespace subquad::test

#define CHECK_CLOSE(got, want, tolerance) CHECK_EQ(::subquad::test::difference((got), (want), (tolerance)), "")
#define CHECK_GRADIENTS(...)                                                      \
  do {                                                                            \
    const ::subquad::GradcheckResult result_ = ::subquad::gradcheck(__VA_ARGS__); \
    CHECK_MESSAGE(result_.passed, result_.message);                               \
  } while (false)
