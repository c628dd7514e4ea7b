#include "subquad/bench/gpu/case.h"

#include <cmath>

#include "subquad/core/rng.h"

namespace subquad::bench::gpu {

Tensor normal(const Shape& shape, Device device, std::uint64_t seed, std::uint64_t stream) {
  Tensor out = empty(shape, kFloat32, kCpu);
  fill_normal(out, 0, 1, seed, stream);
  return out.to(device);
}

Tensor doubles(const Tensor& t) {
  return t.to(kCpu).to(kFloat64).contiguous();
}

double error_of(const Tensor& got, const Tensor& want) {
  const Tensor g = doubles(got), w = doubles(want);
  double worst = 0, scale = 1;
  for (Index i = 0; i < w.size(); ++i) {
    const double error = std::fabs(g.data<double>()[i] - w.data<double>()[i]);
    if (!(error <= worst)) worst = error;  // a NaN stays
    scale = std::max(scale, std::fabs(w.data<double>()[i]));
  }
  return worst / scale;
}

double tolerance_of(Precision precision, Index length) {
  const double unit = precision == Precision::bf16 ? 0x1p-8 : precision == Precision::tf32 ? 0x1p-11 : 0x1p-24;
  return 2 * unit * (8 + 4 * std::sqrt(static_cast<double>(length)));
}

}  // namespace subquad::bench::gpu
