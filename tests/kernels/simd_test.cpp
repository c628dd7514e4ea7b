// The vector steps that kernels share, on every SIMD target. The functions under test live in per-target headers, so
// this file is compiled once per target just as a kernel is.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/tests/kernels/simd_test.cpp"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/kernels/simd/exp2-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
void Exp2Array(const T* x, T* y, std::size_t count) {  // count is a multiple of 16
  const hn::ScalableTag<T> d;
  for (std::size_t i = 0; i < count; i += hn::Lanes(d)) hn::StoreU(Exp2(d, hn::LoadU(d, x + i)), d, y + i);
}
void Exp2Float(const float* x, float* y, std::size_t count) {
  Exp2Array(x, y, count);
}
void Exp2Double(const double* x, double* y, std::size_t count) {
  Exp2Array(x, y, count);
}

std::size_t FloatLanes() {
  return hn::Lanes(hn::ScalableTag<float>());
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace subquad::kernels {

HWY_EXPORT(Exp2Float);
HWY_EXPORT(Exp2Double);
HWY_EXPORT(FloatLanes);

namespace {

template <class F>
void for_each_target(F&& f) {
  const std::string before = simd_target();
  for (const std::string& name : simd_targets()) {
    CAPTURE(name);
    set_simd_target(name);
    f(name);
  }
  set_simd_target(before);
}

template <class T>
std::vector<T> exp2_of(const std::vector<T>& x) {
  std::vector<T> padded = x;
  padded.resize((x.size() + 15) / 16 * 16);
  std::vector<T> y(padded.size());
  if constexpr (std::is_same_v<T, float>)
    SUBQUAD_DISPATCH(Exp2Float)(padded.data(), y.data(), y.size());
  else
    SUBQUAD_DISPATCH(Exp2Double)(padded.data(), y.data(), y.size());
  y.resize(x.size());
  return y;
}

template <class T>
void check_exp2(T lowest, T highest, double tolerance) {
  std::vector<T> x;
  for (int i = 0; i <= 200'000; ++i) x.push_back(lowest + (highest - lowest) * static_cast<T>(i) / 200'000);
  const std::vector<T> y = exp2_of(x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double want = std::exp2(static_cast<long double>(x[i]));
    worst = std::max(worst, static_cast<double>(std::fabs((y[i] - want) / want)));
  }
  CHECK(worst <= tolerance);
}

}  // namespace

TEST_CASE("each SIMD target runs its own code") {
  for_each_target([](const std::string& name) {
    const std::size_t lanes = name == "avx512" ? 16 : name == "avx2" ? 8 : 1;
    CHECK(SUBQUAD_DISPATCH(FloatLanes)() == lanes);
  });
}

TEST_CASE("exp2 is as exact as promised over the whole range") {
  for_each_target([](const std::string&) {
    check_exp2<float>(-126.f, 127.f, 2.0e-7);
    check_exp2<float>(-1.f, 1.f, 2.0e-7);
    check_exp2<double>(-1022., 1023., 4.5e-16);
    check_exp2<double>(-1., 1., 4.5e-16);
  });
}

TEST_CASE("exp2 at the edges: exact powers, 0 below the range, NaN stays") {
  for_each_target([]<class Name>(const Name&) {
    const auto edges = []<class T>(T lowest) {
      const T inf = std::numeric_limits<T>::infinity();
      const std::vector<T> y = exp2_of<T>({0, 1, -1, 10, lowest, lowest - 2, -inf, std::numeric_limits<T>::lowest(),
                                           std::numeric_limits<T>::quiet_NaN()});
      CHECK(y[0] == 1);
      CHECK(y[1] == 2);
      CHECK(y[2] == T(0.5));
      CHECK(y[3] == 1024);
      CHECK(y[4] == std::numeric_limits<T>::min());
      CHECK(y[5] == 0);
      CHECK(y[6] == 0);
      CHECK(y[7] == 0);
      CHECK(std::isnan(y[8]));
    };
    edges(-126.f);
    edges(-1022.);
  });
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
