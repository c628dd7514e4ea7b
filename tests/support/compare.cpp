#include "subquad/tests/support/compare.h"

#include <cmath>
#include <cstring>

#include "subquad/core/runtime.h"

namespace subquad::test {

double dot_tolerance(DType dtype, Index length) {
  const double unit = dtype == kFloat64 ? 0x1p-53 : dtype == kBFloat16 ? 0x1p-8 : 0x1p-24;
  return unit * (8.0 + 4.0 * std::sqrt(static_cast<double>(std::max<Index>(length, 1))));
}

Tensor doubles(const Tensor& t) {
  return t.to(kCpu).to(kFloat64).contiguous();
}

double at(const Tensor& t, Index flat) {
  const Tensor whole = t.to(kCpu).contiguous();
  return visit_any(t.dtype(), [&]<class T>(Type<T>) -> double {
    if constexpr (std::is_same_v<T, BFloat16>)
      return static_cast<float>(whole.data<T>()[flat]);
    else if constexpr (std::is_same_v<T, std::complex<float>> || std::is_same_v<T, std::complex<double>>)
      return whole.data<T>()[flat].real();
    else
      return static_cast<double>(whole.data<T>()[flat]);
  });
}

namespace {

struct Worst {
  double error = 0;
  double scale = 1;
  Index where = 0;
};

Worst worst_element(const Tensor& got, const Tensor& want) {
  const Tensor g = got.to(kCpu).to(kFloat64).contiguous();
  const Tensor w = want.to(kCpu).to(kFloat64).contiguous();
  const double* a = g.data<double>();
  const double* b = w.data<double>();
  Worst worst;
  for (Index i = 0; i < w.size(); ++i)
    if (std::isfinite(b[i])) worst.scale = std::max(worst.scale, std::fabs(b[i]));
  for (Index i = 0; i < w.size(); ++i) {
    const bool equal = a[i] == b[i];  // also equal infinities
    const double error = equal ? 0.0 : std::fabs(a[i] - b[i]);
    if (!(error <= worst.error)) {  // true for a NaN, too
      worst.error = error;
      worst.where = i;
      if (std::isnan(error)) break;
    }
  }
  return worst;
}

}  // namespace

double largest_error(const Tensor& got, const Tensor& want) {
  const Worst worst = worst_element(got, want);
  return worst.error / worst.scale;
}

std::string difference(const Tensor& got, const Tensor& want, double tolerance) {
  if (got.shape() != want.shape()) return cat("shape ", got.shape(), ", expected ", want.shape());
  const Worst worst = worst_element(got, want);
  if (worst.error <= tolerance * worst.scale) return "";
  return cat("element ", worst.where, " of ", got.shape(), " is ", at(got, worst.where), ", expected ",
             at(want, worst.where), "; error ", worst.error, " > ", tolerance, " * ", worst.scale);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor x = a.to(kCpu).contiguous(), y = b.to(kCpu).contiguous();
  return x.size() == 0 ||
         std::memcmp(x.bytes(), y.bytes(), static_cast<std::size_t>(x.size()) * dtype_bytes(x.dtype())) == 0;
}

Tensor normal(const Shape& shape, DType dtype, std::uint64_t seed) {
  Tensor out = empty(shape, dtype, kCpu);
  fill_normal(out, 0, 1, seed, stream_id("test"));
  return here(out);
}

Tensor uniform(const Shape& shape, DType dtype, double low, double high, std::uint64_t seed) {
  Tensor out = empty(shape, dtype, kCpu);
  fill_uniform(out, low, high, seed, stream_id("test"));
  return here(out);
}

Variable leaf(const Shape& shape, std::uint64_t seed) {
  return Variable(normal(shape, kFloat64, seed), true);
}

void for_each_simd_target(const std::function<void()>& f) {
  if (!device().is_cpu()) return f();
  const std::string before = simd_target();
  for (const std::string& name : simd_targets()) {
    CAPTURE(name);
    set_simd_target(name);
    f();
  }
  set_simd_target(before);
}

}  // namespace subquad::test
