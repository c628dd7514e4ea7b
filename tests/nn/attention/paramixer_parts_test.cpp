// What the first factors of Paramixer do together: products of dense matrices, and ways along the links.
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using Dense = std::vector<std::vector<double>>;

std::unique_ptr<Paramixer> make(LinkProtocol protocol, MixResidual residual, Index positions) {
  AttentionConfig config{.kind = "paramixer", .width = 4, .max_length = positions};
  config.paramixer = {.protocol = protocol, .hidden = 5, .residual = residual};
  auto made = std::make_unique<Paramixer>(test::place(kFloat64), config);
  test::randomise(*made, 0.4);
  return made;
}

Dense zero(std::size_t n) {
  return Dense(n, std::vector<double>(n));
}

Dense identity(std::size_t n) {
  Dense eye = zero(n);
  for (std::size_t i = 0; i < n; ++i) eye[i][i] = 1;
  return eye;
}

// The next partial matrix of sample b: W_m before + R_m, over its real positions.
Dense times_factor(const Links& links, const Tensor& weights, Index m, Index b, const std::vector<Index>& real,
                   MixResidual residual, const Dense& before) {
  const std::size_t n = real.size();
  Dense next = residual == MixResidual::running ? before : residual == MixResidual::fixed ? identity(n) : zero(n);
  for (std::size_t i = 0; i < n; ++i)
    for (Index k = 0; k < links.count(); ++k) {
      const Index column = kernels::linked_column(links, static_cast<Index>(i), k, static_cast<Index>(n));
      if (column < 0) continue;
      const double w = test::at(weights, {m, b, real[i], k});
      for (std::size_t j = 0; j < n; ++j) next[i][j] += w * before[static_cast<std::size_t>(column)][j];
    }
  return next;
}

TEST_CASE("Paramixer: a partial matrix is the product of the first factors, all of them are the mixing matrix") {
  const Index n = 9;
  const Variable x(test::normal({2, n, 4}, kFloat64, 1));
  for (const LinkProtocol protocol : {LinkProtocol::chord, LinkProtocol::cdil, LinkProtocol::butterfly})
    for (const MixResidual residual : {MixResidual::running, MixResidual::fixed, MixResidual::none})
      for (const Mask& mask : {Mask(), test::prefix_mask({n, 5}, n)}) {
        if (test::interpreted() && (protocol == LinkProtocol::cdil || !mask.defined())) continue;
        const auto module = make(protocol, residual, n);
        const AttentionInput in{x, x, mask, {}};
        const auto factors = static_cast<Index>(module->links().size());
        const Tensor weights = module->link_weights(in).value();
        std::vector<Tensor> partial;
        for (Index m = 1; m <= factors; ++m) partial.push_back(test::doubles(module->partial_matrix(in, m)));
        CHECK(test::same_bits(partial.back(), test::doubles(module->mixing_matrix(in))));
        for (Index b = 0; b < 2; ++b) {
          std::vector<Index> real;
          for (Index i = 0; i < n; ++i)
            if (test::slow::is_real(mask, b, i)) real.push_back(i);
          Dense product = identity(real.size());
          const auto reached = module->reach(static_cast<Index>(real.size()));
          REQUIRE(reached.size() == partial.size());
          for (std::size_t m = 0; m < partial.size(); ++m) {
            product = times_factor(module->links()[m], weights, static_cast<Index>(m), b, real, residual, product);
            Tensor want = zeros({n, n}, kFloat64, kCpu);
            for (std::size_t i = 0; i < real.size(); ++i) {
              Index nonzero = 0;
              for (std::size_t j = 0; j < real.size(); ++j) {
                want.view<double, 2>()(real[i], real[j]) = product[i][j];
                nonzero += product[i][j] != 0;
              }
              CHECK(reached[m][i] == nonzero);
            }
            CHECK_CLOSE(partial[m].select(0, b).select(0, 0).contiguous(), want, test::dot_tolerance(kFloat64, 100));
          }
        }
      }
}

TEST_CASE("Paramixer: after m factors of chord sixteen positions reach all but what is too far") {
  const auto module = make(LinkProtocol::chord, MixResidual::running, 16);
  const std::vector<std::vector<Index>> reached = module->reach(16);
  REQUIRE(reached.size() == 4);
  CHECK(reached[0] == std::vector<Index>(16, 5));  // 0, 1, 2, 4, 8
  CHECK(reached[3] == std::vector<Index>(16, 16));
  CHECK(link_reach(module->links(), MixResidual::running, 1)[0] == std::vector<Index>{1});
  CHECK(link_reach({}, MixResidual::running, 4).empty());
}

TEST_CASE("Paramixer: partial_matrix says how many factors there are") {
  const auto module = make(LinkProtocol::chord, MixResidual::running, 8);
  const Variable x(test::normal({1, 8, 4}, kFloat64, 1));
  for (const Index factors : {0, 4})
    CHECK_THROWS_WITH_AS(module->partial_matrix({x, x, {}, {}}, factors),
                         cat("paramixer: factors is ", factors, ", expected 1 to 3, what '' has").c_str(), Error);
}

}  // namespace
}  // namespace subquad::nn
