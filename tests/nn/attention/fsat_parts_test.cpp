// What FSAT (our reconstruction) decides by, and that a query gives weight to what was chosen and to nothing else.
#include <algorithm>

#include "subquad/tests/nn/attention/fsat_cases.h"

namespace subquad::nn::fsat_cases {
namespace {

std::vector<Index> real_places(const Mask& mask, Index b, Index positions) {
  std::vector<Index> places;
  for (Index i = 0; i < positions; ++i)
    if (test::slow::is_real(mask, b, i)) places.push_back(i);
  return places;
}

// Sample b's features of one channel, as hidden_cross defines them: a, b [n] are the channel's two sequences.
struct Features {
  std::vector<double> lag, col;
};
Features cross_by_hand(const std::vector<double>& a, const std::vector<double>& b) {
  const std::size_t n = a.size();
  Features out{std::vector<double>(n), std::vector<double>(n)};
  double a_mean = 0, b_mean = 0;
  for (std::size_t i = 0; i < n; ++i) a_mean += a[i] / double(n), b_mean += b[i] / double(n);
  for (std::size_t i = 0; i < n; ++i) {
    out.col[i] = a_mean * (b[i] - b_mean);
    for (std::size_t t = 0; t < n; ++t) out.lag[t] += (a[i] - a_mean) * (b[(i + t) % n] - b_mean) / double(n);
  }
  return out;
}

TEST_CASE("FsatAttention::cross pools all pairs of hidden states along lags and columns") {
  for (const Case& c : cases()) {
    if (c.batch() == 0 || c.positions == 0 || (test::interpreted() && c.positions > 20)) continue;
    const auto module = c.attention(kFloat64);
    const Tensor x = c.input(kFloat64);
    const Mask mask = c.mask();
    const FsatAttention::Cross got = module->cross({Variable(x), Variable(x), mask, {}});
    const test::slow::Weights w(module->state_dict());
    const Tensor a = test::slow::linear(x, w / "cross_a"), b = test::slow::linear(x, w / "cross_b");
    for (Index s = 0; s < c.batch(); ++s) {
      const std::vector<Index> places = real_places(mask, s, c.positions);
      for (Index channel = 0; channel < a.dim(2); ++channel) {
        std::vector<double> left, right;
        for (const Index i : places) {
          left.push_back(test::at(a, {s, i, channel}));
          right.push_back(test::at(b, {s, i, channel}));
        }
        const Features want = cross_by_hand(left, right);
        for (std::size_t i = 0; i < places.size(); ++i) {
          const auto at = static_cast<Index>(i);
          CHECK(test::at(got.lag.value(), {s, at, channel}) == doctest::Approx(want.lag[i]).epsilon(1e-9).scale(1));
          CHECK(test::at(got.col.value(), {s, at, channel}) == doctest::Approx(want.col[i]).epsilon(1e-9).scale(1));
        }
      }
    }
  }
}

TEST_CASE("FSAT: where the mixing matrix is not 0 stand the chosen lags and columns") {
  for (const Case& c : cases()) {
    if (c.batch() == 0 || c.positions == 0 || (test::interpreted() && c.positions > 20)) continue;
    const auto module = c.attention(kFloat64);
    const Variable x(c.input(kFloat64));
    const Mask mask = c.mask();
    const FsatAttention::Decision decision = module->decide({x, x, mask, {}});
    const Tensor matrix = test::doubles(module->mixing_matrix({x, x, mask, {}}));
    const auto holds = [](const Tensor& list, Index s, Index h, Index number) {
      for (Index slot = 0; slot < list.dim(2); ++slot)
        if (static_cast<Index>(test::at(list, {s, h, slot})) == number) return true;
      return false;
    };
    for (Index s = 0; s < c.batch(); ++s) {
      const std::vector<Index> places = real_places(mask, s, c.positions);
      const auto n = static_cast<Index>(places.size());
      for (Index h = 0; h < c.heads; ++h)
        for (Index i = 0; i < n; ++i)
          for (Index j = 0; j < n; ++j) {
            const bool chosen =
                holds(decision.chosen.lags, s, h, (j - i + n) % n) || holds(decision.chosen.columns, s, h, j);
            const double weight =
                test::at(matrix, {s, h, places[static_cast<std::size_t>(i)], places[static_cast<std::size_t>(j)]});
            CHECK((weight != 0) == chosen);
          }
    }
  }
}

}  // namespace
}  // namespace subquad::nn::fsat_cases
