#include "subquad/tests/nn/attention/nystrom_cases.h"

#include "subquad/autograd/backward.h"

namespace subquad::test::nystrom {

Tensor part(const Tensor& x, Index from, Index to) {
  return x.slice(2, from, to);
}

Mask scattered_mask(Index batch, Index positions) {
  Tensor real = empty({batch, positions}, kBool, kCpu);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < positions; ++i)
      real.view<bool, 2>()(b, i) = (i + b) % 3 != 0 && (b + 1 < batch || 2 * i < positions);
  return Mask::from_bool(real).to(device());
}

Variable Inputs::run(const nn::NystromConfig& config) const {
  return nn::nystrom_attention(q, k, v, taps, mask, config);
}

std::vector<Variable> Inputs::leaves() const {
  return taps.defined() ? std::vector{q, k, v, taps} : std::vector{q, k, v};
}

Inputs make_inputs(const Shape& shape, Index taps, const Mask& mask, DType dtype, std::uint64_t seed) {
  const auto draw = [&](const Shape& s, std::uint64_t number) {
    return Variable(normal(s, dtype, 10 * seed + number), true);
  };
  return {draw(shape, 0), draw(shape, 1), draw(shape, 2), taps > 0 ? draw({shape[1], taps}, 3) : Variable(), mask};
}

std::vector<Tensor> run_back(const Inputs& in, const nn::NystromConfig& config, const Tensor& upstream) {
  const Variable out = in.run(config);
  backward(out, upstream);
  std::vector<Tensor> results = {out.value()};
  for (const Variable& x : in.leaves()) results.push_back(x.grad().clone());
  return results;
}

}  // namespace subquad::test::nystrom
