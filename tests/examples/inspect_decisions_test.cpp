// inspect_attention: what a page says that each mechanism decided is what the library decided.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "subquad/nn/attention/combiner.h"
#include "subquad/nn/attention/fsat.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/tests/examples/looked_page.h"

using namespace subquad;
using namespace subquad::test::inspected;

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: what a Nyströmformer decided is what its factors are") {
  const Looked page({"--attention", "nystrom", "--landmarks", "4"});
  const auto& attention = dynamic_cast<const nn::NystromAttention&>(*page.layer().attention);
  const nn::NystromFactors f = attention.factors(page.layer().in);
  for (Index h = 0; h < attention.heads(); ++h) {
    const auto of = [h](const Tensor& factor) { return factor.select(0, 0).select(0, h).contiguous(); };
    check_decided(page.data, page.head(h), "F", of(f.f));
    check_decided(page.data, page.head(h), "A", of(f.a));
    check_decided(page.data, page.head(h), "Z", of(f.z));
    check_decided(page.data, page.head(h), "S", of(f.s));
    const Tensor a = of(f.a), z = of(f.z);
    double squares = 0;
    for (Index i = 0; i < 4; ++i)
      for (Index j = 0; j < 4; ++j) {
        double gap = i == j ? -1 : 0;
        for (Index k = 0; k < 4; ++k)
          gap += static_cast<double>(a.view<const float, 2>()(i, k)) * z.view<const float, 2>()(k, j);
        squares += gap * gap;
      }
    const Json& residual = page.head(h).at("sections")[2].at("parts")[1].at("charts")[0].at("lines")[0].at("values");
    CHECK_EQ(residual.back().get<double>(), doctest::Approx(std::sqrt(squares)).epsilon(1e-3));
  }
}

TEST_CASE("inspect page: what FSAT decided: scores, and lags that the window forced beside those that won") {
  const Looked page({"--attention", "fsat", "--lags", "7", "--columns", "3", "--fsat-window", "1"});
  const auto& attention = dynamic_cast<const nn::FsatAttention&>(*page.layer().attention);
  const NoGrad no_grad;
  const nn::FsatAttention::Decision decision = attention.decide(page.layer().in);
  const Index n = page.layer().in.values.dim(1);
  for (Index h = 0; h < attention.heads(); ++h) {
    const Json& parts = page.head(h).at("sections")[2].at("parts");
    const Json& lag = parts[0].at("charts")[0];
    const Tensor scores = decision.scores.lag.value().select(0, 0).select(0, h).contiguous();
    const Json& curve = lag.at("lines")[0];
    const auto score = scores.span<float>();
    std::vector<double> in_order;
    for (Index i = 0; i < n; ++i)
      in_order.push_back(score[static_cast<std::size_t>((curve.at("first").get<Index>() + i + n) % n)]);
    check_line(curve, in_order, 1);
    std::vector<Index> shown, chosen;
    for (const Json& point : lag.at("forced")) CHECK_LE(std::abs(point[0].get<Index>()), 1);
    for (const Json& point : lag.at("marks")) CHECK_GT(std::abs(point[0].get<Index>()), 1);
    for (const std::string kind : {"forced", "marks"})
      for (const Json& point : lag.at(kind)) shown.push_back((point[0].get<Index>() + n) % n);
    const Tensor list = decision.chosen.lags.select(0, 0).select(0, h).contiguous();
    for (const Index x : list.span<std::int64_t>())
      if (x >= 0) chosen.push_back(x);
    std::ranges::sort(shown);
    std::ranges::sort(chosen);
    CHECK_EQ(shown, chosen);
    CHECK_EQ(lag.at("forced").size(), 3);
    CHECK_EQ(parts[1].at("rows")[0][1], "-1, 0, 1");
  }
}

TEST_CASE("inspect page: what Paramixer and Combiner decided are their factors and weights") {
  const Looked mixer({"--attention", "paramixer"});
  const auto& paramixer = dynamic_cast<const nn::Paramixer&>(*mixer.layer().attention);
  const Tensor weights = paramixer.link_weights(mixer.layer().in).value().select(1, 0);
  for (Index m = 0; m < weights.dim(0); ++m) {
    check_decided(mixer.data, mixer.head(0), cat("links", m + 1), weights.select(0, m).contiguous());
    check_decided(mixer.data, mixer.head(0), cat("product", m + 1),
                  paramixer.partial_matrix(mixer.layer().in, m + 1).select(0, 0).select(0, 0).contiguous());
  }
  for (const std::string pattern : {"fixed", "average"}) {
    const Looked page({"--attention", "combiner", "--combiner-pattern", pattern});
    const auto& combiner = dynamic_cast<const nn::CombinerAttention&>(*page.layer().attention);
    const nn::CombinerWeights found = combiner.weights(page.layer().in);
    for (Index h = 0; h < combiner.heads(); ++h) {
      const auto of = [h](const Tensor& all) { return all.select(0, 0).select(0, h).contiguous(); };
      check_decided(page.data, page.head(h), "direct", of(found.direct));
      check_decided(page.data, page.head(h), "summaries", of(found.summaries));
      check_decided(page.data, page.head(h), "local", of(found.local));
      const std::string about = page.head(h).at("sections")[2].at("about");
      CHECK_EQ(about.find("the mean of two softmaxes") != std::string::npos, pattern == "average");
    }
  }
}

TEST_SUITE_END();
