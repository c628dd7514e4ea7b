#include "subquad/autograd/ops/chord_matmul.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/record.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

using kernels::chord_links;
using kernels::LinkRule;

Mask lengths(const std::vector<Index>& of, Index positions) {
  return Mask::from_lengths(here(tensor(of, {static_cast<Index>(of.size())})), positions);
}

std::vector<Links> butterflies(Index factors) {
  std::vector<Links> links;
  for (Index m = 0; m < factors; ++m) links.push_back(kernels::butterfly_links(Index{1} << m));
  return links;
}

}  // namespace

TEST_CASE("chord_matmul gradients") {
  const std::vector<Links> links = {chord_links(4), kernels::cdil_links(2, 9), {LinkRule::circular, {-9, 0, 30}}};
  for_each_simd_target([&] {
    for (const Links& pattern : links)
      for (const Index positions : {1, 5, 8})
        for (const bool residual : {false, true})
          for (const Mask& mask : {Mask(), lengths({positions, positions / 2}, positions)})
            for (const bool shared : {false, true}) {
              const Shape weights = {2, positions, pattern.count()};
              CHECK_GRADIENTS(
                  [&](const auto& in) { return std::vector{chord_matmul(in[0], in[1], pattern, mask, residual)}; },
                  {leaf(shared ? weights.without(0) : weights, 1), leaf({2, positions, 3}, 2)});
            }
  });
}

TEST_CASE("butterfly_matmul gradients") {
  for (const Index positions : {1, 4, 7})
    for (const Index distance : {1, 4})
      for (const bool shared : {false, true}) {
        const Shape weights = {2, positions, 2};
        CHECK_GRADIENTS([&](const auto& in) { return std::vector{butterfly_matmul(in[0], in[1], distance)}; },
                        {leaf(shared ? weights.without(0) : weights, 1), leaf({2, positions, 3}, 2)});
      }
}

TEST_CASE("chord_chain gradients") {
  const std::vector<std::vector<Links>> chains = {{chord_links(3)},
                                                  {chord_links(4), chord_links(4), chord_links(4)},
                                                  {kernels::cdil_links(1, 3), kernels::cdil_links(2, 3)},
                                                  butterflies(3)};
  for (const auto& links : chains)
    for (const MixResidual residual : {MixResidual::running, MixResidual::fixed, MixResidual::none})
      for (const Mask& mask : {Mask(), lengths({6, 3, 0}, 6)})
        for (const bool shared : {false, true}) {
          const Shape weights = {static_cast<Index>(links.size()), 3, 6, links.front().count()};
          CHECK_GRADIENTS([&](const auto& in) { return std::vector{chord_chain(in[0], in[1], links, residual, mask)}; },
                          {leaf(shared ? weights.without(1) : weights, 1), leaf({3, 6, 2}, 2)});
        }
}

TEST_CASE("chord_chain equals chord_matmul factor by factor, gradients included") {
  const std::vector<Links> links = {chord_links(3), {LinkRule::circular, {0, 5, -2}}};
  const Mask mask = lengths({6, 4}, 6);
  const Tensor weights = normal({2, 2, 6, 3}, kFloat64, 1), values = normal({2, 6, 5}, kFloat64, 2);
  const auto gradients = [&](const auto& f) {
    const Variable w(weights, true), v(values, true);
    const Variable out = f(w, v);
    backward(out, normal({2, 6, 5}, kFloat64, 3));
    return std::vector<Tensor>{out.value(), w.grad(), v.grad()};
  };
  const auto chain =
      gradients([&](const auto& w, const auto& v) { return chord_chain(w, v, links, MixResidual::running, mask); });
  const auto alone = gradients([&](const auto& w, const auto& v) {
    Variable x = v;
    for (std::size_t m = 0; m < links.size(); ++m) {
      const Variable factor(w.value().select(0, static_cast<Index>(m)), true);
      x = chord_matmul(factor, x, links[m], mask, true);
    }
    return x;
  });
  CHECK(same_bits(chain[0], alone[0]));
  CHECK(same_bits(chain[2], alone[2]));
}

TEST_CASE("chord_chain: one of the inputs may go without a gradient, and outside a graph nothing is kept") {
  const std::vector<Links> links = {chord_links(2), chord_links(2)};
  for (const bool weights_too : {true, false}) {
    const Variable w(normal({2, 1, 4, 2}, kFloat64, 1), weights_too), v(normal({1, 4, 3}, kFloat64, 2), !weights_too);
    backward(sum(chord_chain(w, v, links, MixResidual::running)));
    CHECK(w.grad().defined() == weights_too);
    CHECK(v.grad().defined() != weights_too);
    const NoGrad no_grad;
    CHECK_FALSE(chord_chain(w, v, links, MixResidual::running).requires_grad());
  }
}

}  // namespace subquad::test
