// What the paper says of its factors, that they have full rank, and that their product reaches every position. Ranks
// and determinants come from Gaussian elimination with complete pivoting in double.
#include <algorithm>
#include <cmath>

#include "subquad/kernels/chord_matmul/chord_matmul.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/nn/module_check.h"

TEST_SUITE_BEGIN("cpu");  // eliminations on the host of factors that tests/kernels compares on every device

namespace subquad::nn {
namespace {

struct Elimination {
  Index rank = 0;
  double log_determinant = 0;  // ln |det|; meaningless unless the rank is full
};

Elimination eliminate(const Tensor& matrix) {
  const Index n = matrix.dim(0);
  Tensor work = matrix.clone();
  double* a = work.data<double>();
  Elimination result;
  double first = 0;
  for (Index step = 0; step < n; ++step) {
    Index row = step, column = step;
    for (Index i = step; i < n; ++i)
      for (Index j = step; j < n; ++j)
        if (std::abs(a[i * n + j]) > std::abs(a[row * n + column])) row = i, column = j;
    const double pivot = a[row * n + column];
    if (step == 0) first = std::abs(pivot);
    if (std::abs(pivot) <= 1e-14 * static_cast<double>(n) * first) return result;
    for (Index j = 0; j < n; ++j) std::swap(a[row * n + j], a[step * n + j]);
    for (Index i = 0; i < n; ++i) std::swap(a[i * n + column], a[i * n + step]);
    for (Index i = step + 1; i < n; ++i) {
      const double factor = a[i * n + step] / pivot;
      for (Index j = step; j < n; ++j) a[i * n + j] -= factor * a[step * n + j];
    }
    ++result.rank;
    result.log_determinant += std::log(std::abs(pivot));
  }
  return result;
}

Tensor identity(Index n) {
  Tensor eye = zeros({1, n, n}, kFloat64, kCpu);
  for (Index i = 0; i < n; ++i) eye.data<double>()[i * n + i] = 1;
  return eye;
}

struct Protocol {
  LinkProtocol protocol;
  FactorRule rule = FactorRule::ceil;

  std::vector<Links> links(Index n) const {
    AttentionConfig config{.kind = "paramixer", .width = 1, .max_length = n};
    config.paramixer = {.protocol = protocol, .rule = rule, .hidden = 1};
    return Paramixer(test::place(kFloat64), config).links();
  }
};
const std::vector<Protocol> kProtocols = {{LinkProtocol::chord}, {LinkProtocol::cdil}, {LinkProtocol::butterfly}};

Tensor random_weights(const std::vector<Links>& links, Index n) {
  return test::normal({static_cast<Index>(links.size()), 1, n, links.front().count()}, kFloat64, 3).to(kCpu);
}

// The factors from first to last, all of them applied to the identity: [n, n].
Tensor product(const Tensor& weights, const std::vector<Links>& links, Index n, MixResidual residual) {
  return kernels::chord_chain(weights, identity(n), links, residual).out.squeeze(0);
}

// How many positions the rows of the product reach, all weights being 1.
struct Reach {
  Index fewest, most;
};
Reach reach(const Protocol& protocol, Index n) {
  const std::vector<Links> links = protocol.links(n);
  const Shape shape = {static_cast<Index>(links.size()), 1, n, links.front().count()};
  const Tensor matrix = product(full(shape, 1, kFloat64, kCpu), links, n, MixResidual::running);
  Reach result{n, 0};
  for (Index i = 0; i < n; ++i) {
    Index count = 0;
    for (Index j = 0; j < n; ++j) count += test::at(matrix, {i, j}) != 0;
    result = {std::min(result.fewest, count), std::max(result.most, count)};
  }
  return result;
}

}  // namespace

TEST_CASE("Paramixer: each factor, with and without residual, has full rank") {
  for (const Protocol& protocol : kProtocols)
    for (const Index n : {16, 23, 64, 101, 256}) {
      CAPTURE(n);
      const std::vector<Links> links = protocol.links(n);
      const Tensor weights = random_weights(links, n);
      for (std::size_t m = 0; m < links.size(); ++m)
        for (const bool residual : {false, true}) {
          const Tensor factor = weights.select(0, static_cast<Index>(m));
          const Tensor dense = kernels::chord_matmul(factor, identity(n), links[m], {}, residual).squeeze(0);
          CHECK(eliminate(dense).rank == n);
        }
    }
}

TEST_CASE("Paramixer: the product's determinant is that of its factors") {
  for (const Protocol& protocol : kProtocols)
    for (const Index n : {7, 16, 23, 64}) {
      CAPTURE(n);
      const std::vector<Links> links = protocol.links(n);
      const Tensor weights = random_weights(links, n);
      double sum = 0;
      for (std::size_t m = 0; m < links.size(); ++m) {
        const Tensor factor = weights.select(0, static_cast<Index>(m));
        sum += eliminate(kernels::chord_matmul(factor, identity(n), links[m], {}, true).squeeze(0)).log_determinant;
      }
      const Elimination whole = eliminate(product(weights, links, n, MixResidual::running));
      CHECK(whole.rank == n);
      CHECK(whole.log_determinant == doctest::Approx(sum).epsilon(1e-8));
    }
}

TEST_CASE("Paramixer: with factors by the ceil rule every position reaches every other one") {
  for (const Index n : {1, 2, 3, 7, 16, 23, 31, 64, 100}) {
    CAPTURE(n);
    CHECK(reach({LinkProtocol::chord}, n).fewest == n);
    CHECK(reach({LinkProtocol::cdil}, n).fewest == n);
  }
  for (const Index n : {1, 2, 16, 64}) CHECK(reach({LinkProtocol::butterfly}, n).fewest == n);
  CHECK(reach({LinkProtocol::butterfly}, 23).fewest == 16);  // ways that lead through partners beyond n are lost
}

TEST_CASE("Paramixer: the floor rule leaves holes in chord, none in cdil") {
  const Protocol chord{LinkProtocol::chord, FactorRule::floor}, cdil{LinkProtocol::cdil, FactorRule::floor};
  for (const auto& [n, reached] : {std::pair<Index, Index>{7, 5}, {16, 16}, {31, 27}}) {
    CHECK(reach(chord, n).fewest == reached);
    CHECK(reach(chord, n).most == reached);
    CHECK(reach(cdil, n).fewest == n);
  }
}

TEST_CASE("the rank test notices a product of two thin matrices") {
  const Index n = 40, width = 6;
  const Tensor a = test::normal({n, width}, kFloat64, 1).to(kCpu), b = test::normal({n, width}, kFloat64, 2).to(kCpu);
  Tensor thin = zeros({n, n}, kFloat64, kCpu);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j)
      for (Index k = 0; k < width; ++k) thin.data<double>()[i * n + j] += test::at(a, {i, k}) * test::at(b, {j, k});
  CHECK(eliminate(thin).rank == width);
}

}  // namespace subquad::nn

TEST_SUITE_END();
