// The vector error function, and GELU with its slope, on every SIMD target. They live in a per-target header, so this
// file is compiled once per target just as a kernel is.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/tests/kernels/erf_test.cpp"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/core/tensor.h"
#include "subquad/kernels/simd/erf-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

Tensor ErfOf(const Tensor& x) {
  Tensor y = empty_like(x);
  visit_float("erf", x.dtype(), [&]<class T>(Type<T>) {
    ForRows(1, x.size(), 1, [&](Index) HWY_ATTR {
      const hn::ScalableTag<T> d;
      const T* from = x.data<T>();
      T* to = y.data<T>();
      ForVectors(d, x.size(), [&](Index i, auto lanes) HWY_ATTR { lanes.Store(Erf(d, lanes.Load(from + i)), to + i); });
    });
  });
  return y;
}

// gelu(x), then gelu'(x); x has whole groups of vectors.
Tensor GeluAndSlopeOf(const Tensor& x) {
  Tensor both = empty({2, x.size()}, x.dtype(), kCpu);
  visit_float("gelu", x.dtype(), [&]<class T>(Type<T>) {
    ForRows(1, x.size(), 1, [&](Index) HWY_ATTR {
      const hn::ScalableTag<T> d;
      constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(d));
      constexpr int kCount = 4;
      T* to = both.data<T>();
      for (Index i = 0; i < x.size(); i += kCount * kLanes) {
        hn::Vec<hn::ScalableTag<T>> z[kCount], gelu[kCount], slope[kCount];
        for (int v = 0; v < kCount; ++v) z[v] = hn::LoadU(d, x.data<T>() + i + v * kLanes);
        GeluAndSlopeOfEach<kCount>(d, z, gelu, slope);
        for (int v = 0; v < kCount; ++v) {
          hn::StoreU(gelu[v], d, to + i + v * kLanes);
          hn::StoreU(slope[v], d, to + x.size() + i + v * kLanes);
        }
      }
    });
  });
  return both;
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "subquad/tests/support/compare.h"

namespace subquad::kernels {

HWY_EXPORT(ErfOf);
HWY_EXPORT(GeluAndSlopeOf);

namespace {

TEST_CASE("erf is as exact as promised over the whole range") {
  test::for_each_simd_target([] {
    test::for_each_float([](DType dtype) {
      Tensor x = arange(100'001, dtype, kCpu);
      visit_float("test", dtype, [&]<class T>(Type<T>) {
        for (T& v : x.span<T>()) v = v < 60'000 ? (v - 30'000) * T(2e-4) : std::exp(-T(40) + (v - 60'000) * T(1e-3));
      });
      const Tensor y = SUBQUAD_DISPATCH(ErfOf)(x);
      double worst = 0;
      for (Index i = 0; i < x.size(); ++i) {
        const double want = std::erf(test::at(x, i));
        if (want != 0) worst = std::max(worst, std::fabs(test::at(y, i) / want - 1));
      }
      CHECK(worst <= (dtype == kFloat32 ? 3.3e-7 : 3e-16));
    });
  });
}

TEST_CASE("erf at the edges: 0, exactly 1 far out, NaN stays") {
  test::for_each_simd_target([] {
    test::for_each_float([](DType dtype) {
      const double inf = std::numeric_limits<double>::infinity();
      const Tensor x = tensor<double>({0, 9, -9, 1e30, -1e30, inf, -inf, std::nan("")}, {8}).to(dtype);
      const Tensor y = SUBQUAD_DISPATCH(ErfOf)(x);
      CHECK(test::same_bits(y.slice(0, 0, 7), tensor<double>({0, 1, -1, 1, -1, 1, -1}, {7}).to(dtype)));
      CHECK(std::isnan(test::at(y, 7)));
    });
  });
}

TEST_CASE("gelu and its slope far out: 0 and 0, z and 1, up to the largest numbers") {
  test::for_each_simd_target([] {
    test::for_each_float([](DType dtype) {
      Tensor x = empty({64}, dtype, kCpu);
      visit_float("test", dtype, [&]<class T>(Type<T>) {
        const T most = std::numeric_limits<T>::max(), sizes[] = {40, T(1e30), T(1.4e38), most / 4, most};
        for (Index i = 0; i < 64; ++i) x.data<T>()[i] = (i % 2 == 0 ? 1 : -1) * sizes[i % 5];
      });
      const Tensor both = SUBQUAD_DISPATCH(GeluAndSlopeOf)(x);
      for (Index i = 0; i < 64; ++i) {
        const double z = test::at(x, i);
        CHECK_EQ(test::at(both.select(0, 0), i), z > 0 ? z : 0);
        CHECK_EQ(test::at(both.select(0, 1), i), z > 0 ? 1 : 0);
      }
    });
  });
}

TEST_CASE("gelu and its slope together are as exact as promised") {
  test::for_each_simd_target([] {
    test::for_each_float([](DType dtype) {
      Tensor x = arange(1 << 15, dtype, kCpu);
      visit_float("test", dtype, [&]<class T>(Type<T>) {
        for (T& v : x.span<T>()) v = (v - 16'384) * T(5e-4);
      });
      const Tensor both = SUBQUAD_DISPATCH(GeluAndSlopeOf)(x);
      double worst = 0, worst_slope = 0;
      for (Index i = 0; i < x.size(); ++i) {
        const double z = test::at(x, i), cdf = std::erfc(-z / std::numbers::sqrt2) / 2;
        const double slope = cdf + z * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
        worst = std::max(worst, std::fabs(test::at(both, {0, i}) - z * cdf) / std::max(1.0, std::fabs(z)));
        worst_slope = std::max(worst_slope, std::fabs(test::at(both, {1, i}) - slope));
      }
      CHECK(worst <= (dtype == kFloat32 ? 2e-7 : 5e-16));
      CHECK(worst_slope <= (dtype == kFloat32 ? 3e-7 : 1e-15));
    });
  });
}

}  // namespace
}  // namespace subquad::kernels

#endif  // HWY_ONCE
