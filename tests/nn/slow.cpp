#include "subquad/tests/nn/slow.h"

#include <cmath>
#include <limits>

namespace subquad::test::slow {

namespace {

Tensor elementwise(const Tensor& x, double (*f)(double)) {
  Tensor out = doubles(x).clone();
  for (double& value : out.span<double>()) value = f(value);
  return out;
}

}  // namespace

bool is_real(const Mask& mask, Index b, Index position) {
  return !mask.defined() || at(mask.real, {b, position}) != 0;
}

Tensor add(const Tensor& a, const Tensor& b) {
  const Tensor whole = doubles(b);
  Tensor out = doubles(a).clone();
  for (Index i = 0; i < out.size(); ++i) out.data<double>()[i] += whole.data<double>()[i];
  return out;
}

Tensor linear(const Tensor& input, const Weights& w) {
  const Tensor x = doubles(input);
  const Tensor weight = w("weight");
  const Index inputs = weight.dim(0), outputs = weight.dim(1), rows = inputs > 0 ? x.size() / inputs : 0;
  Tensor out = zeros(x.shape().with(x.rank() - 1, outputs), kFloat64, kCpu);
  for (Index r = 0; r < rows; ++r)
    for (Index o = 0; o < outputs; ++o) {
      double sum = w.has("bias") ? w("bias").data<double>()[o] : 0;
      for (Index i = 0; i < inputs; ++i)
        sum += x.data<double>()[r * inputs + i] * weight.data<double>()[i * outputs + o];
      out.data<double>()[r * outputs + o] = sum;
    }
  return out;
}

Tensor layer_norm(const Tensor& input, const Weights& w, double epsilon) {
  const Tensor x = doubles(input);
  const Tensor gamma = w("gamma"), beta = w("beta");
  const Index width = gamma.size();
  Tensor out = empty_like(x);
  for (Index r = 0; r < x.size() / width; ++r) {
    const double* row = x.data<double>() + r * width;
    double mean = 0, variance = 0;
    for (Index d = 0; d < width; ++d) mean += row[d] / static_cast<double>(width);
    for (Index d = 0; d < width; ++d) variance += (row[d] - mean) * (row[d] - mean) / static_cast<double>(width);
    for (Index d = 0; d < width; ++d)
      out.data<double>()[r * width + d] =
          (row[d] - mean) / std::sqrt(variance + epsilon) * gamma.data<double>()[d] + beta.data<double>()[d];
  }
  return out;
}

Tensor relu(const Tensor& x) {
  return elementwise(x, [](double v) { return v > 0 ? v : 0; });
}

Tensor gelu(const Tensor& x) {
  return elementwise(x, [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); });
}

Tensor attention_matrix(const Tensor& x, const Weights& w, Index heads, const Mask& device_mask, bool causal) {
  const Mask mask = device_mask.to(kCpu);
  const Tensor q = linear(x, w / "query"), k = linear(x, w / "key");
  const Index batch = x.dim(0), positions = x.dim(1), per_head = q.dim(2) / heads;
  const auto query = q.view<const double, 3>(), key = k.view<const double, 3>();
  Tensor matrix = zeros({batch, heads, positions, positions}, kFloat64, kCpu);
  auto a = matrix.view<double, 4>();
  for (Index b = 0; b < batch; ++b)
    for (Index h = 0; h < heads; ++h)
      for (Index i = 0; i < positions; ++i) {
        if (!is_real(mask, b, i)) continue;
        double total = 0;
        for (Index j = 0; j < positions; ++j) {
          if (!is_real(mask, b, j) || (causal && j > i)) continue;
          double dot = 0;
          for (Index e = 0; e < per_head; ++e) dot += query(b, i, h * per_head + e) * key(b, j, h * per_head + e);
          total += a(b, h, i, j) = std::exp(dot / std::sqrt(static_cast<double>(per_head)));
        }
        for (Index j = 0; j < positions && total > 0; ++j) a(b, h, i, j) /= total;
      }
  return matrix;
}

Tensor attention(const Tensor& x, const Weights& w, Index heads, const Mask& mask, bool causal) {
  const Tensor matrix = attention_matrix(x, w, heads, mask, causal), v = linear(x, w / "value");
  const Index batch = x.dim(0), positions = x.dim(1), per_head = v.dim(2) / heads;
  const auto a = matrix.view<const double, 4>();
  const auto value = v.view<const double, 3>();
  Tensor mixed = zeros(v.shape(), kFloat64, kCpu);
  auto out = mixed.view<double, 3>();
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < positions; ++i)
      for (Index c = 0; c < v.dim(2); ++c)
        for (Index j = 0; j < positions; ++j) out(b, i, c) += a(b, c / per_head, i, j) * value(b, j, c);
  return linear(mixed, w / "out");
}

Tensor feed_forward(const Tensor& x, const Weights& w) {
  return linear(gelu(linear(x, w / "first")), w / "second");
}

}  // namespace subquad::test::slow
