// The bounds that compare_attention holds mechanisms against, its counts of work and its fits, against plain loops.
#include "subquad/examples/compare/limits.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "subquad/examples/compare/sparse_factors.h"
#include "subquad/examples/compare/work.h"
#include "subquad/kernels/lag_column_attention/lag_column_attention.h"
#include "subquad/kernels/softmax/softmax.h"
#include "subquad/tests/support/compare.h"

using namespace subquad;
using namespace subquad::compare;
using test::at;

TEST_SUITE_BEGIN("cpu");

namespace {

Tensor weights(Index n, std::uint64_t seed) {
  return kernels::softmax(test::normal({n, n}, kFloat32, seed)).to(kCpu);
}

std::vector<Index> members(unsigned set) {
  std::vector<Index> all;
  for (Index i = 0; i < 32; ++i)
    if (set >> i & 1u) all.push_back(i);
  return all;
}

double mass_of(const Tensor& a, const std::vector<Index>& lags, const std::vector<Index>& columns) {
  const Index n = a.dim(0);
  double sum = 0;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      bool seen = false;
      for (const Index lag : lags) seen = seen || (i + lag) % n == j;
      for (const Index column : columns) seen = seen || column == j;
      if (seen) sum += at(a, {i, j});
    }
  return sum / static_cast<double>(n);
}

}  // namespace

TEST_CASE("compare limits: relative error and mass seen") {
  const Tensor a = weights(9, 1), b = weights(9, 2);
  double wrong = 0, all = 0;
  for (Index i = 0; i < 81; ++i) {
    wrong += (at(b, i) - at(a, i)) * (at(b, i) - at(a, i));
    all += at(a, i) * at(a, i);
  }
  CHECK(relative_error(b, a) == doctest::Approx(std::sqrt(wrong / all)).epsilon(1e-12));
  CHECK_EQ(relative_error(a, a), 0);
  CHECK(mass_seen(b, a) == doctest::Approx(1).epsilon(1e-6));
  CHECK(mass_seen(along_lag_columns(a, {2}, {0, 5}), a) == doctest::Approx(mass_of(a, {2}, {0, 5})).epsilon(1e-6));
}

TEST_CASE("compare limits: no other keys of a row hold more than the best") {
  const Index n = 7;
  const Tensor a = weights(n, 3), best = along_best_keys(a, 3);
  double most = 0;
  for (Index i = 0; i < n; ++i) {
    double row = 0;
    for (unsigned set = 0; set < 1u << n; ++set) {
      if (std::popcount(set) != 3) continue;
      double sum = 0;
      for (const Index j : members(set)) sum += at(a, {i, j});
      row = std::max(row, sum);
    }
    most += row / static_cast<double>(n);
    double total = 0;
    for (Index j = 0; j < n; ++j) total += at(best, {i, j});
    CHECK(total == doctest::Approx(1).epsilon(1e-6));
  }
  CHECK(mass_seen(best, a) == doctest::Approx(most).epsilon(1e-6));
  CHECK_LT(relative_error(along_best_keys(a, 99), a), 1e-6);
  double left_out = 0, all = 0;  // of squares
  const Tensor sparse = best_sparse(a, 3);
  for (Index i = 0; i < n * n; ++i) {
    CHECK((at(sparse, i) == 0 || at(sparse, i) == at(a, i)));
    CHECK_EQ(at(sparse, i) == 0, at(best, i) == 0);
    left_out += at(sparse, i) == 0 ? at(a, i) * at(a, i) : 0;
    all += at(a, i) * at(a, i);
  }
  CHECK(relative_error(sparse, a) == doctest::Approx(std::sqrt(left_out / all)).epsilon(1e-6));
  CHECK_LT(relative_error(sparse, a), relative_error(best, a));
}

TEST_CASE("compare limits: best lags and columns beside every choice that there is") {
  const Index n = 7;
  int exact = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Tensor a = weights(n, seed);
    const LagColumnChoice found = best_lag_columns(a, 2, 2);
    double best = 0;
    for (unsigned lags = 0; lags < 1u << n; ++lags)
      for (unsigned columns = 0; columns < 1u << n; ++columns)
        if (std::popcount(lags) == 2 && std::popcount(columns) == 2)
          best = std::max(best, mass_of(a, members(lags), members(columns)));
    CAPTURE(seed);
    CHECK(found.mass == doctest::Approx(mass_of(a, found.lags, found.columns)).epsilon(1e-6));
    CHECK_GE(found.mass, 0.97 * best);
    CHECK_GE(found.most, best - 1e-6);
    exact += found.mass > best - 1e-6 ? 1 : 0;
  }
  CHECK_GE(exact, 7);
  const LagColumnChoice all = best_lag_columns(weights(n, 1), 7, 0);
  CHECK(all.mass == doctest::Approx(1).epsilon(1e-6));
  CHECK(all.columns.empty());
}

TEST_CASE("compare limits: softmax along lags and columns is what lag-column attention makes") {
  const Index n = 12, width = 4;
  const Tensor q = test::normal({1, 1, n, width}, kFloat32, 1).to(kCpu);
  const Tensor k = test::normal({1, 1, n, width}, kFloat32, 2).to(kCpu);
  Tensor logits = empty({n, n}, kFloat32, kCpu), unit = zeros({1, 1, n, n}, kFloat32, kCpu);
  for (Index i = 0; i < n; ++i) {
    unit.data<float>()[i * n + i] = 1;
    for (Index j = 0; j < n; ++j) {
      double sum = 0;
      for (Index e = 0; e < width; ++e) sum += at(q, {0, 0, i, e}) * at(k, {0, 0, j, e});
      logits.data<float>()[i * n + j] = static_cast<float>(sum / 2);
    }
  }
  const std::vector<Index> lags = {1, 5}, columns = {0, 3, 8};
  const kernels::LagColumns chosen{.lags = tensor<std::int64_t>({1, 5}, {1, 1, 2}),
                                   .columns = tensor<std::int64_t>({0, 3, 8}, {1, 1, 3})};
  const Tensor out = kernels::lag_column_attention(q, k, unit, chosen).out;
  const Tensor expected = along_lag_columns(kernels::softmax(logits), lags, columns);
  CHECK_CLOSE(out.contiguous().reshape({n, n}), expected, test::dot_tolerance(kFloat32, n));
}

TEST_CASE("compare limits: the best matrix of a rank, of a matrix whose singular values are known") {
  Tensor a = zeros({9, 9}, kFloat32, kCpu);  // blocks of ones of 5, 3 and 1: singular values 5, 3, 1, 0 ...
  for (Index i = 0; i < 9; ++i)
    for (Index j = 0; j < 9; ++j)
      if ((i < 5) == (j < 5) && (i < 8) == (j < 8)) a.data<float>()[i * 9 + j] = 1;
  const std::vector<double> errors = low_rank_errors(a, {0, 1, 2, 3, 9, 20});
  const std::vector<double> expected = {1, std::sqrt(10 / 35.0), std::sqrt(1 / 35.0), 0, 0, 0};
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(errors[i] == doctest::Approx(expected[i]).epsilon(1e-6));
}

TEST_CASE("compare work: keys that are counted one by one") {
  const Index n = 64, width = 8;
  const double per_key = 4 * width;
  const auto flops = [&](nn::AttentionConfig config) {
    config.width = 3 * width;
    config.head_width = width;
    config.max_length = n;
    return flops_per_query(config, n);
  };
  double near = 0, blocks = 0;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      near += std::abs(i - j) <= 5 ? 1 : 0;
      blocks += i / 16 == j / 16 ? 1 : 0;
    }
  CHECK(flops({.kind = "softmax"}) == per_key * n);
  CHECK(flops({.kind = "local", .local = {.window = 5}}) == doctest::Approx(per_key * near / n));
  // own segment, three others, and each token once in a summary
  CHECK(flops({.kind = "combiner", .combiner = {.segment = 16}}) == doctest::Approx(per_key * (blocks / n + 3 + 1)));
  CHECK(flops({.kind = "combiner", .combiner = {.pattern = nn::CombinerPattern::logsparse}}) ==
        doctest::Approx(per_key * (2 + 5 + 5)));
  CHECK(flops({.kind = "nystrom", .nystrom = {.landmarks = 4, .pinv_iterations = 3, .conv_kernel = 0}}) ==
        doctest::Approx((2 * per_key * n * 4 + per_key * 4 * 4 + 8 * 3 * 4 * 4 * 4) / n));
  double cells = 0;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      const Index lag = (j - i + n) % n;
      cells += lag == 3 || lag == 7 || j == 0 || j == 9 || j == 20 ? 1 : 0;
    }
  CHECK(chosen_flops(2, 3, n, width) == doctest::Approx(per_key * cells / n));
  CHECK(chosen_flops(n, 3, n, width) == per_key * n);
  const auto fsat = [&](Index lags) { return flops({.kind = "fsat", .fsat = {.lags = lags, .columns = 3}}); };
  CHECK(fsat(9) - fsat(2) == doctest::Approx(chosen_flops(9, 3, n, width) - chosen_flops(2, 3, n, width)));
  CHECK(factor_flops(6, 7, width) == 2 * 6 * 7 * width);
  const nn::AttentionConfig paramixer{
      .kind = "paramixer", .width = width, .max_length = n, .paramixer = {.hidden = 10}};
  CHECK(flops_per_query(paramixer, n) == 2 * 6 * (width * 10 + 10 * 7 + 7 * width));
}

TEST_CASE("compare work: what ops count of themselves is what the formulas say") {
  const Index n = 256;
  struct Counted {
    nn::AttentionConfig config;
    double most = 1;  // times the formula
  };
  for (Counted c : std::vector<Counted>{{{.kind = "softmax"}},
                                         {{.kind = "nystrom", .nystrom = {.landmarks = 16}}},
                                         {{.kind = "fsat"}, 1.15},
                                         {{.kind = "paramixer", .heads = 1}},
                                         {{.kind = "combiner", .combiner = {.segment = 16}}, 1.02},
                                         {{.kind = "combiner", .combiner = {.pattern = nn::CombinerPattern::logsparse}}},
                                         {{.kind = "local"}}}) {
    CAPTURE(c.config.kind);
    CAPTURE(static_cast<int>(c.config.combiner.pattern));
    c.config.width = 64;
    c.config.max_length = n;
    const double ratio = counted_flops(c.config, n) / flops_per_query(c.config, n);
    CHECK(ratio > 1 - 1e-9);
    CHECK(ratio < c.most + 1e-9);
  }
  CHECK_THROWS_WITH_AS(flops_per_query({.kind = "linear", .width = 64}, n), doctest::Contains("linear"), Error);
}

TEST_CASE("compare fit: factors begin as the mean, and come near to a matrix that they can be") {
  const Index n = 16;
  Tensor shift = zeros({n, n}, kFloat32, kCpu);
  for (Index i = 0; i < n; ++i) shift.data<float>()[i * n + (i + 5) % n] = 1;
  const SparseFactors start = fit_sparse_factors(shift, {.steps = 0});
  CHECK_EQ(start.factors, 4);
  CHECK_EQ(start.links, 5);
  CHECK_CLOSE(start.matrix, full({n, n}, 1.0 / n, kFloat64, kCpu), test::dot_tolerance(kFloat32, n));
  const FitOptions options{.steps = 250, .vectors = 16, .rate = 0.05};
  const SparseFactors fitted = fit_sparse_factors(shift, options);
  CHECK_LT(relative_error(fitted.matrix, shift), 0.1);
  CHECK(test::same_bits(fitted.matrix, fit_sparse_factors(shift, options).matrix));
  for (const Index factors : {1, 2, 9})
    CHECK_EQ(fit_sparse_factors(shift, {.factors = factors, .steps = 1}).factors, factors);
  const Tensor by_cdil = fit_sparse_factors(shift, {.links = 3, .steps = 0}).matrix;
  CHECK(relative_error(by_cdil, full({n, n}, 1.0 / n, kFloat32, kCpu)) < 1e-6);
  FitOptions cdil = options;
  cdil.links = 3;
  const SparseFactors near = fit_sparse_factors(shift, cdil);
  CHECK_EQ(near.links, 3);
  CHECK_LT(relative_error(near.matrix, shift), 0.2);
}

TEST_SUITE_END();
