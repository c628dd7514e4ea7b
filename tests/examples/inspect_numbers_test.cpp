// The numerics of inspect_attention, each against plain loops.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/core/parallel.h"
#include "subquad/examples/inspect/reduced.h"
#include "subquad/examples/inspect/row_facts.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/examples/inspect/softmax_matrix.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/support/compare.h"

namespace subquad::inspect {
namespace {

std::vector<double> numbers(const Tensor& t) {
  std::vector<double> all;
  for (Index i = 0; i < t.size(); ++i) all.push_back(test::at(t, i));
  return all;
}

Mask prefix_mask(const std::vector<std::int64_t>& lengths, Index positions) {
  Tensor counts = empty({static_cast<Index>(lengths.size())}, kInt64, kCpu);
  std::copy(lengths.begin(), lengths.end(), counts.data<std::int64_t>());
  return Mask::from_lengths(counts, positions).to(test::device());
}

Tensor on_cpu(const Tensor& t) {
  return test::doubles(t);
}

// Against those of the N x N product, made by loops. A repeated column makes a rank less; E > N leaves N values.
TEST_CASE("inspect: product_singular_values equals those of the product") {
  for (const auto& [n, width] : {std::pair<Index, Index>{1, 1}, {1, 3}, {7, 3}, {5, 5}, {4, 6}, {40, 9}}) {
    CAPTURE(n);
    CAPTURE(width);
    for (const bool repeated : {false, true}) {
      Tensor a = test::normal({n, width}, kFloat64, 3).to(kCpu);
      const Tensor b = test::normal({n, width}, kFloat64, 4).to(kCpu);
      for (Index i = 0; i < n && repeated && width > 1; ++i) a.view<double, 2>()(i, 1) = 2 * a.view<double, 2>()(i, 0);
      Tensor product = zeros({n, n}, kFloat64, kCpu);
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j)
          for (Index e = 0; e < width; ++e)
            product.view<double, 2>()(i, j) += test::at(a, {i, e}) * test::at(b, {j, e});
      const std::vector<double> want = numbers(singular_values(product)), got = product_singular_values(a, b);
      REQUIRE_EQ(std::ssize(got), std::min(n, width));
      for (std::size_t k = 0; k < want.size(); ++k)
        CHECK_LE(std::abs((k < got.size() ? got[k] : 0) - want[k]), 1e-12 * want[0]);
    }
  }
}

TEST_CASE("inspect: softmax_matrix equals the loops") {
  const Index n = 7, width = 3;
  test::for_each_float([&](DType dtype) {
    const Tensor q = test::normal({2, 2, n, width}, dtype, 1), k = test::normal({2, 2, n, width}, dtype, 2);
    for (const Mask& mask : {Mask(), prefix_mask({n, 4}, n), prefix_mask({0, 1}, n)})
      for (const bool causal : {false, true}) {
        Tensor want = zeros({2, 2, n, n}, kFloat64, kCpu);
        const auto cell = want.view<double, 4>();
        const auto real = [&](Index b, Index i) {
          return !mask.defined() || i < static_cast<Index>(test::at(mask.lengths, b));
        };
        for (Index b = 0; b < 2; ++b)
          for (Index h = 0; h < 2; ++h)
            for (Index i = 0; i < n; ++i) {
              double sum = 0;
              for (Index j = 0; j < n; ++j) {
                if (!real(b, i) || !real(b, j) || (causal && j > i)) continue;
                double logit = 0;
                for (Index e = 0; e < width; ++e) logit += test::at(q, {b, h, i, e}) * test::at(k, {b, h, j, e});
                sum += cell(b, h, i, j) = std::exp(logit / std::sqrt(static_cast<double>(width)));
              }
              for (Index j = 0; j < n && sum > 0; ++j) cell(b, h, i, j) /= sum;
            }
        const Tensor got = softmax_matrix(q, k, mask, causal);
        CHECK(got.dtype() == dtype);
        CHECK_CLOSE(got, want, test::dot_tolerance(dtype, width));
      }
  });
  CHECK(softmax_matrix(zeros({1, 1, 0, 2}, kFloat32, kCpu), zeros({1, 1, 0, 2}, kFloat32, kCpu)).size() == 0);
  CHECK_THROWS_WITH_AS(softmax_matrix(zeros({1, 1, 3, 2}, kFloat32, kCpu), zeros({1, 1, 4, 2}, kFloat32, kCpu)),
                       doctest::Contains("softmax_matrix: k is "), ShapeError);
}

TEST_CASE("inspect: softmax_matrix is the mixing matrix of softmax attention with the same q and k") {
  const auto module =
      nn::make_attention(nn::Place(11, kFloat64, test::device()), {.kind = "softmax", .width = 8, .heads = 2});
  const Variable x(test::normal({2, 9, 8}, kFloat64, 1));
  const nn::AttentionInput in{x, x, prefix_mask({9, 5}, 9), {}};
  const nn::Heads heads = module->project(in);
  CHECK_CLOSE(softmax_matrix(heads.q.value(), heads.k.value(), in.mask), test::doubles(module->mixing_matrix(in)),
              test::dot_tolerance(kFloat64, 9));
}

// A with these singular values: reflections of a diagonal from both sides.
Tensor with_values(const std::vector<double>& values, std::uint64_t seed) {
  const auto n = static_cast<Index>(values.size());
  Tensor a = zeros({n, n}, kFloat64, kCpu);
  const auto cell = a.view<double, 2>();
  for (Index i = 0; i < n; ++i) cell(i, i) = values[static_cast<std::size_t>(i)];
  for (const bool left : {true, false})
    for (std::uint64_t r = 0; r < 3; ++r) {
      std::vector<double> v = numbers(test::normal({n}, kFloat64, seed + r + (left ? 0 : 10)));
      const double length = std::inner_product(v.begin(), v.end(), v.begin(), 0.0);
      for (Index i = 0; i < n; ++i) {
        double dot = 0;
        for (Index j = 0; j < n; ++j) dot += v[static_cast<std::size_t>(j)] * (left ? cell(j, i) : cell(i, j));
        for (Index j = 0; j < n; ++j)
          (left ? cell(j, i) : cell(i, j)) -= 2 * dot / length * v[static_cast<std::size_t>(j)];
      }
    }
  return a;
}

TEST_CASE("inspect: singular_values finds those that a matrix was made with") {
  const std::vector<std::vector<double>> cases = {{},
                                                  {3},
                                                  {2, 0},
                                                  {0, 0, 0},
                                                  {5, 5, 5, 5},
                                                  {1e3, 1, 1e-3, 1e-9, 0},
                                                  {9, 8, 7, 6.5, 4, 3, 2, 1, 1, 1, 0.5, 1e-6, 1e-7}};
  for (const std::vector<double>& want : cases)
    for (const SvdMethod method : {SvdMethod::best, SvdMethod::own}) {
      const std::vector<double> got = numbers(singular_values(with_values(want, 3), method));
      REQUIRE(got.size() == want.size());
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1e-14 * (1 + 20 * want[0]));
    }
}

TEST_CASE("inspect: singular_values by LAPACK and by our own loops agree") {
  const Tensor many = test::normal({2, 3, 40, 40}, kFloat64, 5);
  const Tensor own = singular_values(many, SvdMethod::own), lapack = singular_values(many, SvdMethod::lapack);
  CHECK(own.shape() == Shape{2, 3, 40});
  CHECK_CLOSE(own, lapack, 1e-13);
  CHECK_CLOSE(singular_values(many.to(kFloat32), SvdMethod::lapack), own, test::dot_tolerance(kFloat32, 40));
  for (Index m = 0; m < 6; ++m) {  // sum of squares, and order
    double squares = 0, want = 0;
    for (Index i = 0; i < 40; ++i) {
      squares += std::pow(test::at(own, m * 40 + i), 2);
      if (i > 0) CHECK(test::at(own, m * 40 + i) <= test::at(own, m * 40 + i - 1));
    }
    for (Index i = 0; i < 1600; ++i) want += std::pow(test::at(many, m * 1600 + i), 2);
    CHECK(squares == doctest::Approx(want).epsilon(1e-10));
  }
  CHECK_CLOSE(singular_values(many.transpose(2, 3)), own, 1e-13);
}

TEST_CASE("inspect: singular_values names what it cannot take") {
  Tensor bad = zeros({2, 3, 3}, kFloat32, kCpu);
  bad.view<float, 3>()(1, 0, 2) = NAN;
  CHECK_THROWS_WITH_AS(singular_values(bad), "singular_values: matrix 1 holds nan at [0, 2], expected finite numbers",
                       Error);
  CHECK_THROWS_WITH_AS(singular_values(zeros({2, 3}, kFloat64, kCpu)),
                       doctest::Contains("expected square ones, [..., N, N]"), ShapeError);
}

TEST_CASE("inspect: effective and numerical rank") {
  const auto effective = [](const std::vector<double>& s) { return effective_rank(s); };
  CHECK(effective({}) == 0);
  CHECK(effective({0, 0}) == 0);
  CHECK(effective({4, 0, 0}) == doctest::Approx(1));
  CHECK(effective({2, 2, 2, 2}) == doctest::Approx(4));
  CHECK(effective({3, 1}) == doctest::Approx(std::exp(-0.75 * std::log(0.75) - 0.25 * std::log(0.25))));
  CHECK(numerical_rank({}) == 0);
  CHECK(numerical_rank(std::vector<double>{0, 0}) == 0);
  CHECK(numerical_rank(std::vector<double>{1, 1e-3, 1e-8}) == 2);
  CHECK(numerical_rank(std::vector<double>{1, 1e-3, 1e-8}, 1e-2) == 1);
}

TEST_CASE("inspect: facts of rows equal the loops, also where weights are negative") {
  const Index n = 6;
  Tensor a = on_cpu(test::normal({n, n}, kFloat64, 1));
  const auto cell = a.view<double, 2>();
  for (Index j = 0; j < n; ++j) cell(2, j) = 0;  // a padded query
  cell(3, 1) = 0;
  std::vector<double> entropy(n), sums(n), mass(n);
  for (Index i = 0; i < n; ++i) {
    double total = 0;
    for (Index j = 0; j < n; ++j) total += std::abs(cell(i, j));
    for (Index j = 0; j < n && total > 0; ++j) {
      const double p = std::abs(cell(i, j)) / total;
      if (p > 0) entropy[i] -= p * std::log(p) / std::log(2.0);
      sums[i] += cell(i, j);
      mass[i > j ? i - j : j - i] += p / 5;  // five rows hold something
    }
  }
  const auto close = [](const std::vector<double>& got, const std::vector<double>& want) {
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-12));
  };
  close(row_entropy(a), entropy);
  close(row_sums(a), sums);
  close(mass_by_distance(a), mass);
  CHECK(std::accumulate(mass.begin(), mass.end(), 0.0) == doctest::Approx(1));

  close(row_entropy(full({4, 4}, 0.25, kFloat32, kCpu)), {2, 2, 2, 2});
  close(mass_by_distance(zeros({3, 3}, kFloat32, kCpu)), {0, 0, 0});
  CHECK(row_entropy(zeros({0, 0}, kFloat32, kCpu)).empty());
  CHECK_THROWS_AS(row_sums(zeros({2, 3}, kFloat32, kCpu)), ShapeError);
}

TEST_CASE("inspect: reduced says how many elements stand behind each number") {
  for (const auto& [rows, columns, most] :
       {std::tuple<Index, Index, Index>{7, 5, 3}, {7, 5, 7}, {8, 8, 4}, {1, 9, 2}}) {
    const Tensor a = on_cpu(test::normal({rows, columns}, kFloat32, 1));
    for (const Reduction how : {Reduction::mean, Reduction::largest}) {
      const Reduced got = reduced(a, most, how);
      CHECK(got.rows == rows);
      CHECK(got.columns == columns);
      const Index block = got.blocks.rows, down = (rows + block - 1) / block, across = (columns + block - 1) / block;
      CHECK(got.values.shape() == Shape{down, across});
      CHECK(std::max(down, across) <= most);
      CHECK((block == 1 || std::max(rows, columns) > most * (block - 1)));
      double low = INFINITY, high = -INFINITY;
      for (Index i = 0; i < down; ++i)
        for (Index j = 0; j < across; ++j) {
          double sum = 0, count = 0, largest = 0;
          for (Index r = i * block; r < std::min(rows, (i + 1) * block); ++r)
            for (Index c = j * block; c < std::min(columns, (j + 1) * block); ++c) {
              sum += test::at(a, {r, c});
              count += 1;
              if (std::abs(test::at(a, {r, c})) > std::abs(largest)) largest = test::at(a, {r, c});
            }
          const double want = how == Reduction::mean ? sum / count : largest;
          CHECK(test::at(got.values, {i, j}) == doctest::Approx(want).epsilon(1e-6));
          low = std::min(low, test::at(got.values, {i, j}));
          high = std::max(high, test::at(got.values, {i, j}));
        }
      CHECK(got.low == low);
      CHECK(got.high == high);
    }
  }
  const Reduced none = reduced(zeros({0, 0}, kFloat32, kCpu), 4, Reduction::mean);
  CHECK(none.values.size() == 0);
  CHECK_THROWS_WITH_AS(reduced(zeros({2, 2}, kFloat32, kCpu), 0, Reduction::mean),
                       "reduced: most is 0, expected at least 1 row", Error);
}

}  // namespace
}  // namespace subquad::inspect
