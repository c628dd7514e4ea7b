// inspect_attention: matrices in numbers: spectra, ranks and entropies of a page are what loops and the library find.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/examples/inspect/paramixer_factors.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/tests/examples/looked_page.h"

using namespace subquad;
using namespace subquad::test::inspected;

namespace {

// Softmax of q k^T / sqrt(E) by plain loops.
Tensor softmax_by_loops(const LayerSight& layer, Index head) {
  const NoGrad no_grad;
  const nn::Heads heads = layer.attention->project(layer.in);
  const Tensor queries = heads.q.value().select(0, 0).select(0, head),
               keys = heads.k.value().select(0, 0).select(0, head);
  const auto q = queries.view<const float, 2>(), k = keys.view<const float, 2>();
  Tensor out = empty({q.dim(0), q.dim(0)}, kFloat32, kCpu);
  for (Index i = 0; i < q.dim(0); ++i) {
    std::vector<double> row;
    for (Index j = 0; j < q.dim(0); ++j) {
      double logit = 0;
      for (Index e = 0; e < q.dim(1); ++e) logit += static_cast<double>(q(i, e)) * k(j, e);
      row.push_back(std::exp(logit / std::sqrt(static_cast<double>(q.dim(1)))));
    }
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    for (Index j = 0; j < q.dim(0); ++j)
      out.view<float, 2>()(i, j) = static_cast<float>(row[static_cast<std::size_t>(j)] / sum);
  }
  return out;
}

// Entropies of rows of |a| by plain loops.
std::vector<double> entropy_by_loops(const Tensor& matrix) {
  const auto a = matrix.view<const float, 2>();
  std::vector<double> bits;
  for (Index i = 0; i < a.dim(0); ++i) {
    double sum = 0, entropy = 0;
    for (Index j = 0; j < a.dim(1); ++j) sum += std::abs(static_cast<double>(a(i, j)));
    for (Index j = 0; j < a.dim(1); ++j)
      if (const double p = std::abs(static_cast<double>(a(i, j))) / sum; p > 0) entropy -= p * std::log2(p);
    bits.push_back(entropy);
  }
  return bits;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: ranks of the logits, of a Paramixer and of its factors") {
  const auto sections_of = [](const Args& args) {
    Subject subject = fresh(args);
    return page_data(subject).data.at("layers")[0].at("heads")[0].at("sections");
  };
  const Json softmax = sections_of({"--attention", "softmax", "--heads", "2"});
  const Json& numbers = softmax[1].at("parts");
  CHECK_EQ(row_named(numbers[0], "q kᵀ/√E")[2], "8 of 18");  // E = 16 / 2
  CHECK_EQ(row_named(numbers[0], "q kᵀ/√E").size(), numbers[0].at("head").size());
  CHECK_EQ(numbers[0].at("head")[3], "mean entropy, bits");  // no column that has no number
  const Json& lines = numbers[1].at("charts")[0].at("lines");
  CHECK_EQ(lines[2].at("values").size(), 8);
  CHECK(lines[3].at("limit").get<bool>());
  const double level = lines[3].at("points")[0][1].get<double>(), largest = lines[0].at("values")[0].get<double>();
  CHECK_EQ(level / largest / 1.1920929e-7, doctest::Approx(18).epsilon(1e-3));  // N eps, in four digits

  for (const std::string residual : {"running", "fixed", "none"}) {
    const Json paramixer = sections_of({"--attention", "paramixer", "--residual", residual});
    const Json& ranks = paramixer[1].at("parts");
    const Json &head = ranks[0].at("head"), row_of = row_named(ranks[0], "mixing");
    CHECK_EQ(head[3], "numerical rank, float64");
    CHECK_EQ(head[4], "largest / smallest singular value");
    REQUIRE_EQ(row_of.size(), head.size());
    if (residual == "running") CHECK_EQ(row_of[3], "18 of 18");
    const Json& spectrum = ranks[1].at("charts")[0].at("lines")[0].at("values");
    const double apart = spectrum.front().get<double>() / spectrum.back().get<double>();
    if (residual == "running") CHECK_EQ(std::stod(row_of[4].get<std::string>()), doctest::Approx(apart).epsilon(1e-2));
    CHECK_EQ(ranks[1].at("charts")[0].at("lines").back().at("name"), "float64's limit");
    const Json& factors = paramixer[2].at("parts")[1];
    REQUIRE_EQ(factors.at("rows").size(), 6);
    for (const Json& row : factors.at("rows")) {
      CHECK_EQ(row[0].get<std::string>().starts_with("I + W"), residual == "running");
      if (residual == "running") CHECK_EQ(row[4], "18 of 18");
    }
  }
}

// In float64 a Paramixer is what it is in float32, to that one's rounding; its factors make it.
TEST_CASE("inspect page: a Paramixer's factors in float64") {
  for (const std::string residual : {"running", "fixed", "none"}) {
    CAPTURE(residual);
    const Subject subject = fresh({"--attention", "paramixer", "--residual", residual});
    const Sight sight = look(subject.learner->model(), subject.batch);
    const ParamixerFactors found = paramixer_factors(sight.layers[0], subject.attention().paramixer, 100);
    const Tensor single = sight.layers[0].attention->mixing_matrix(sight.layers[0].in).select(0, 0).select(0, 0);
    const auto a = found.product.view<const double, 2>();
    const auto b = single.view<const float, 2>();
    const Index n = a.dim(0);
    std::vector<double> product(static_cast<std::size_t>(n * n));
    for (Index i = 0; i < n; ++i) product[static_cast<std::size_t>(i * n + i)] = 1;
    for (const Tensor& factor : found.factors) {
      const std::vector<double> before = product;
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) {
          double sum = residual == "fixed" && i == j ? 1 : 0;
          for (Index k = 0; k < n; ++k)
            sum += factor.view<const double, 2>()(i, k) * before[static_cast<std::size_t>(k * n + j)];
          product[static_cast<std::size_t>(i * n + j)] = sum;
        }
    }
    double largest = 0, worst = 0, apart = 0;
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        largest = std::max(largest, std::abs(a(i, j)));
        worst = std::max(worst, std::abs(a(i, j) - static_cast<double>(b(i, j))));
        apart = std::max(apart, std::abs(a(i, j) - product[static_cast<std::size_t>(i * n + j)]));
      }
    CHECK_LE(worst, 1e-5 * largest);
    CHECK_LE(apart, 1e-13 * largest);
  }
}

TEST_CASE("inspect page: softmax, spectra and entropies are what loops and the library find") {
  for (const Args& args : {Args{"--attention", "nystrom", "--landmarks", "4", "--conv-kernel", "0"},
                           Args{"--attention", "fsat", "--lags", "5", "--columns", "3", "--fsat-window", "1"},
                           Args{"--attention", "combiner"}}) {
    CAPTURE(args[1]);
    const Looked page(args);
    const Tensor mixing = page.layer().attention->mixing_matrix(page.layer().in).select(0, 0);
    for (Index h = 0; h < mixing.dim(0); ++h) {
      const Tensor matrix = mixing.select(0, h).contiguous(), softmax = softmax_by_loops(page.layer(), h);
      const Json* picture = picture_of(page.data, page.head(h), "softmax");
      REQUIRE(picture != nullptr);
      CHECK_LE(cells_apart(*picture, softmax), 1.5);  // exponentials are rounded on both sides
      CHECK_GT(cells_apart(*picture, softmax.transpose(0, 1).contiguous()), 100);  // an error would be seen
      CHECK_GT(cells_apart(*picture_of(page.data, page.head(h), "mixing"), matrix.transpose(0, 1).contiguous()), 100);
      const std::vector<Tensor> both = {matrix, softmax};
      for (std::size_t i = 0; i < both.size(); ++i) {
        const Tensor found = singular_values(both[i].to(kFloat64), SvdMethod::own);
        const auto s = found.span<double>();
        check_line(page.chart(h, 0)[i], {s.begin(), s.end()}, s.front());
        check_line(page.chart(h, 1)[i], entropy_by_loops(both[i]), 5);
      }
    }
  }
}

TEST_SUITE_END();
