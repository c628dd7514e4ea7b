// The examples in numbers of nn/attention's pages, with the digits that stand there.
#include <cmath>

#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/chord_matmul/chord_matmul.h"
#include "subquad/kernels/hidden_cross/hidden_cross.h"
#include "subquad/kernels/top_k/top_k.h"
#include "subquad/nn/attention/combiner.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/support/compare.h"

namespace subquad::nn {
namespace {

Tensor identity(Index size) {  // as values [1, 1, N, N]: then results are weights
  Tensor out = zeros({1, 1, size, size}, kFloat64, kCpu);
  for (Index i = 0; i < size; ++i) out.data<double>()[i * (size + 1)] = 1;
  return out;
}

Tensor column(const std::vector<double>& numbers) {  // [1, 1, N, 1]
  return tensor<double>(numbers, {1, 1, static_cast<Index>(numbers.size()), 1});
}

// `got` has these numbers, to half of the last digit that a page prints.
void check_digits(const Tensor& got, const std::vector<double>& want, double half = 0.0005) {
  const Tensor numbers = got.contiguous();
  REQUIRE(numbers.size() == static_cast<Index>(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(numbers.data<double>()[i] - want[i]) <= half);
}

// Logits q . k / sqrt(2) of 1 between equal tokens and 0 between others.
Variable tokens(const std::string& kinds) {
  const double length = std::sqrt(std::sqrt(2.0));
  Tensor x = zeros({1, 1, static_cast<Index>(kinds.size()), 2}, kFloat64, kCpu);
  for (std::size_t i = 0; i < kinds.size(); ++i) x.data<double>()[2 * i + (kinds[i] == 'a' ? 0 : 1)] = length;
  return Variable(x);
}

constexpr NystromConfig kTwoLandmarks{.landmarks = 2, .conv_kernel = 0};

Tensor nystrom_matrix(const Variable& x) {
  return nystrom_attention(x, x, Variable(identity(x.dim(2))), {}, {}, kTwoLandmarks).value();
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("page example: softmax of logits 1, 0, 3") {
  const Tensor q = column({1}), k = column({1, 0, 3});
  const kernels::AttentionOptions one{.scale = 1};
  check_digits(kernels::attention(q, k, identity(3), {}, one).out, {0.114, 0.042, 0.844});
  const kernels::AttentionOutput means = kernels::attention(q, k, column({10, 20, 30}), {}, one);
  check_digits(means.out, {27.296});
  check_digits(means.lse, {3.170});
}

TEST_CASE("page example: Nystrom is exact where the tokens of a segment are alike") {
  const Variable x = tokens("aabb");
  const Tensor exact = kernels::attention(x.value(), x.value(), identity(4)).out;
  CHECK_CLOSE(nystrom_matrix(x), exact, 1e-10);
  check_digits(exact.select(2, 0), {0.366, 0.366, 0.134, 0.134});
  const NystromFactors factors = nystrom_factors(x, x, {}, kTwoLandmarks);
  check_digits(factors.f, {0.731, 0.269, 0.731, 0.269, 0.269, 0.731, 0.269, 0.731});
  check_digits(factors.a, {0.731, 0.269, 0.269, 0.731});
  check_digits(factors.z, {1.582, -0.582, -0.582, 1.582});
  check_digits(factors.s, {0.366, 0.366, 0.134, 0.134, 0.134, 0.134, 0.366, 0.366});

  check_digits(nystrom_matrix(tokens("abab")), std::vector<double>(16, 0.25), 1e-12);
}

TEST_CASE("page example: FSAT finds a period and a token that stands out") {
  const auto sequence = [](const std::vector<double>& x) { return tensor<double>(x, {1, 4, 1}); };
  const Tensor wave = sequence({1, -1, 1, -1});
  const kernels::HiddenCross period = kernels::hidden_cross(wave, wave);
  check_digits(period.lag, {1, -1, 1, -1}, 1e-12);
  check_digits(period.col, {0, 0, 0, 0}, 1e-12);
  const Tensor lags = kernels::choose_top_k(period.lag.reshape({1, 1, 4}), 2);
  CHECK(test::same_bits(lags, tensor<Index>({0, 2}, {1, 1, 2})));

  const kernels::HiddenCross one = kernels::hidden_cross(sequence({1, 1, 1, 1}), sequence({0, 0, 4, 0}));
  check_digits(one.lag, {0, 0, 0, 0}, 1e-12);
  check_digits(one.col, {-1, -1, 3, -1}, 1e-12);
}

TEST_CASE("page example: two chord factors of three links fill four positions") {
  const std::vector<Links> links(2, kernels::chord_links(3));
  const auto product = [&](Index factors) {
    const Tensor ones = full({factors, 1, 4, 3}, 1, kFloat64, kCpu);
    const std::vector<Links> first(links.begin(), links.begin() + factors);
    return kernels::chord_chain(ones, identity(4).squeeze(0), first, MixResidual::none).out.select(1, 0);
  };
  check_digits(product(1), {1, 1, 1, 0}, 0);
  check_digits(product(2), {2, 2, 3, 2}, 0);
}

TEST_CASE("page example: Combiner's row of two tokens and one span") {
  const CombinerConfig two{.segment = 2};
  const Variable one(column({1, 1, 1, 1})), k(column({0, 1, 2, 0})), zero(column({0, 0, 0, 0}));
  const auto first_row = [&](const Variable& q) {
    return combiner_attention(q, k, Variable(identity(4)), {}, two, false).out.value().select(2, 0);
  };
  check_digits(first_row(one), {0.090, 0.245, 0.586, 0.079});
  check_digits(kernels::attention(one.value(), k.value(), identity(4)).out.select(2, 0), {0.083, 0.225, 0.610, 0.083});
  check_digits(first_row(zero), {1 / 3.0, 1 / 3.0, 1 / 6.0, 1 / 6.0}, 1e-12);
}

TEST_SUITE_END();

}  // namespace subquad::nn
