// Paramixer: each sparse factor with its weights, the product of the factors so far, and how far that reaches.
#include <algorithm>

#include "subquad/core/error.h"
#include "subquad/examples/inspect/decisions.h"
#include "subquad/nn/attention/paramixer.h"

namespace subquad::inspect {

namespace {

// Positions that are mixed: all, but for a mask's padding.
std::vector<Index> mixed_positions(const LayerSight& layer, bool mix_padding) {
  std::vector<Index> real;
  const Mask& mask = layer.in.mask;
  for (Index i = 0; i < layer.in.values.dim(1); ++i)
    if (mix_padding || !mask.defined() || mask.real.select(0, 0).slice(0, i, i + 1).item<bool>()) real.push_back(i);
  return real;
}

// W [N, N] of one factor from its weights [N, L]: links count among the real positions.
Tensor factor_matrix(const Tensor& weights, const Links& links, const std::vector<Index>& real) {
  const Index positions = weights.dim(0), n = std::ssize(real);
  Tensor matrix = zeros({positions, positions}, kFloat32, kCpu);
  const auto w = weights.view<const float, 2>();
  const auto out = matrix.view<float, 2>();
  for (Index i = 0; i < n; ++i)
    for (Index k = 0; k < links.count(); ++k) {
      const Index column = kernels::linked_column(links, i, k, n), row = real[static_cast<std::size_t>(i)];
      if (column >= 0) out(row, real[static_cast<std::size_t>(column)]) += w(row, k);
    }
  return matrix;
}

Json link_names(const Links& links) {
  Json names = Json::array();
  for (const Index offset : links.offsets)
    names.push_back(links.rule == kernels::LinkRule::flip ? cat("xor ", offset) : cat(offset > 0 ? "+" : "", offset));
  return names;
}

Chart reach_chart(const std::vector<std::vector<Index>>& reach) {
  Chart chart{.title = "Reach after each factor",
              .about = "How many keys a query gets something from, along the links and the residual.",
              .x = "factors",
              .y = "keys",
              .lines = {{"most", {}}, {"mean", {}}, {"least", {}}}};
  for (std::size_t m = 0; m < reach.size(); ++m) {
    const std::vector<Index>& counts = reach[m];
    const double factors = static_cast<double>(m + 1);
    if (counts.empty()) continue;
    const auto [least, most] = std::ranges::minmax(counts);
    double sum = 0;
    for (const Index count : counts) sum += static_cast<double>(count);
    chart.lines[0].points.push_back({factors, static_cast<double>(most)});
    chart.lines[1].points.push_back({factors, sum / static_cast<double>(counts.size())});
    chart.lines[2].points.push_back({factors, static_cast<double>(least)});
  }
  return chart;
}

}  // namespace

std::vector<Json> paramixer_decisions(const DecisionInput& in) {
  const auto& attention = dynamic_cast<const nn::Paramixer&>(*in.layer.attention);
  const NoGrad no_grad;
  const std::vector<Links>& links = attention.links();
  const Tensor weights = attention.link_weights(in.layer.in).value().to(kCpu).select(1, 0);  // [M, N, L]
  const std::vector<Index> real = mixed_positions(in.layer, in.config.paramixer.mix_padding);
  std::vector<Choice> factors;
  for (std::size_t m = 0; m < links.size(); ++m) {
    const Tensor w = weights.select(0, static_cast<Index>(m)).contiguous();
    const Tensor product = attention.partial_matrix(in.layer.in, static_cast<Index>(m) + 1).to(kCpu);
    const Index matrix =
        in.pictures.add({cat("factor", m + 1), cat("Factor ", m + 1), cat(links[m].count(), " links a row."), "factor",
                         factor_matrix(w, links[m], real), kQueries, kKeys});
    const Index sofar =
        in.pictures.add({cat("product", m + 1), cat("The first ", count_of(std::ssize(factors) + 1, "factor")),
                         "Their product, with the residual after each.", "product", product.select(0, 0).select(0, 0),
                         kQueries, kKeys});
    const Index list = in.pictures.add({cat("links", m + 1),
                                        "Its weights",
                                        "A column for each link.",
                                        "factor",
                                        w,
                                        kQueries,
                                        {"link to", link_names(links[m])}});
    factors.push_back({cat(m + 1), {picture_groups({{matrix, sofar}, {list}})}});
  }
  const std::string about =
      cat("The mixing matrix is the product of ", links.size(), " sparse factors, each with ", links.front().count(),
          " weights a row, which a small perceptron makes of that row's data. Where the weights go is fixed; how large "
          "they "
          "are is what the mechanism decides.");
  return {section("What the mechanism decided", about,
                  {charts({reach_chart(attention.reach(std::ssize(real)))}), choice("Factor", factors)})};
}

}  // namespace subquad::inspect
