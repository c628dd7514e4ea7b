// Paramixer: each sparse factor with its weights, the product of the factors so far, and how far that reaches.
#include <algorithm>
#include <limits>

#include "subquad/core/error.h"
#include "subquad/examples/inspect/decisions.h"
#include "subquad/examples/inspect/paramixer_factors.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/nn/attention/paramixer.h"

namespace subquad::inspect {

namespace {

constexpr double kSingle = std::numeric_limits<float>::epsilon();

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

// What the mixing matrix is made of.
std::string chain_text(Index factors, nn::MixResidual residual) {
  if (residual == nn::MixResidual::none)
    return factors == 1
               ? "The mixing matrix is one sparse factor, W1."
               : cat("The mixing matrix is the product of ", factors, " sparse factors, W", factors, " ... W1.");
  if (residual == nn::MixResidual::running)
    return factors == 1 ? "The mixing matrix is I + W1, with one sparse factor."
                        : cat("The mixing matrix is the product of ", factors,
                              " factors I + W, W sparse: what goes into "
                              "a factor is added to what comes out.");
  return cat("Each of ", count_of(factors, "sparse factor"),
             " takes what the one before made, and the values themselves are added again: V_m = W_m V_(m−1) + V_0. The "
             "mixing matrix is a sum of products, of all factors, of all but the first, and so on to I alone.");
}

std::string sofar_text(nn::MixResidual residual) {
  if (residual == nn::MixResidual::none) return "Their product.";
  return residual == nn::MixResidual::running ? "The product of their I + W." : "What they make of the values, V_m.";
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

// Factors' spectra are found for inputs up to so many positions: there are as many as factors.
constexpr Index kMostFactor = 1024;

std::string factor_name(Index m, nn::MixResidual residual) {
  return cat(residual == nn::MixResidual::running ? "I + W" : "W", m);
}

// What each factor alone is like: its largest and smallest singular value, and how many are above rounding.
struct FactorSpectra {
  std::vector<std::vector<double>> singular;  // of each factor; empty where there are too many positions
  std::vector<std::vector<std::string>> rows;
};

FactorSpectra factor_spectra(const DecisionInput& in) {
  FactorSpectra spectra;
  const nn::ParamixerConfig& config = in.config.paramixer;
  for (const Tensor& factor : paramixer_factors(in.layer, config, kMostFactor).factors) {
    const Tensor found = singular_values(factor);
    const auto s = found.span<double>();
    spectra.rows.push_back({factor_name(std::ssize(spectra.rows) + 1, config.residual), digits(s.front()),
                            digits(s.back()), s.back() > 0 ? digits(s.front() / s.back()) : "∞",
                            cat(numerical_rank(s, static_cast<double>(s.size()) * kSingle), " of ", s.size())});
    spectra.singular.emplace_back(s.begin(), s.end());
  }
  return spectra;
}

Json factor_chart(const std::string& name, const std::vector<double>& singular) {
  const Index n = std::ssize(singular);
  return charts(
      {{.title = cat("Singular values of ", name),
        .about = "A factor alone; what is below the limit is not told apart from float32's rounding.",
        .x = "number",
        .y = "value",
        .log = true,
        .lines = {line(name, singular, 1), limit("limit", static_cast<double>(n) * kSingle * singular.front(), n)}}});
}

}  // namespace

std::vector<Json> paramixer_decisions(const DecisionInput& in) {
  const auto& attention = dynamic_cast<const nn::Paramixer&>(*in.layer.attention);
  const NoGrad no_grad;
  const std::vector<Links>& links = attention.links();
  const Tensor weights = attention.link_weights(in.layer.in).value().to(kCpu).select(1, 0);  // [M, N, L]
  const std::vector<Index> real = mixed_positions(in.layer, in.config.paramixer.mix_padding);
  const FactorSpectra spectra = factor_spectra(in);
  const nn::MixResidual residual = in.config.paramixer.residual;
  const Tensor size = only_size(weights.dim(1), weights.dim(1));
  std::vector<Choice> factors;
  for (std::size_t m = 0; m < links.size(); ++m) {
    const Tensor w = weights.select(0, static_cast<Index>(m)).contiguous();
    const Index matrix =
        in.pictures.add({.id = cat("factor", m + 1),
                         .title = cat("Factor ", m + 1, ": W", m + 1),
                         .about = cat(count_of(links[m].count(), "link"), " a row",
                                      residual == nn::MixResidual::running ? "; the residual adds I." : "."),
                         .scale = "factor",
                         .values = size,
                         .rows = kQueries,
                         .columns = kKeys,
                         .make = [=, these = links[m]] { return factor_matrix(w, these, real); }});
    const Index sofar = in.pictures.add(
        {.id = cat("product", m + 1),
         .title = factors.empty() ? std::string("The first factor") : cat("The first ", factors.size() + 1, " factors"),
         .about = sofar_text(residual),
         .scale = "product",
         .values = size,
         .rows = kQueries,
         .columns = kKeys,
         .make = [&attention, data = in.layer.in, count = static_cast<Index>(m) + 1] {
           return attention.partial_matrix(data, count).to(kCpu).select(0, 0).select(0, 0);
         }});
    const Index list = in.pictures.add({cat("links", m + 1),
                                        "Its weights",
                                        "A column for each link.",
                                        "factor",
                                        w,
                                        kQueries,
                                        {"link to", link_names(links[m])}});
    factors.push_back({cat(m + 1), {picture_groups({{matrix, sofar}, {list}})}});
    if (m < spectra.singular.size())
      factors.back().parts.push_back(factor_chart(spectra.rows[m][0], spectra.singular[m]));
  }
  const std::string about =
      cat(chain_text(std::ssize(links), residual), " A factor has ", links.front().count(),
          " weights a row, which a small perceptron makes of that row's data. Where the weights go is fixed; how large "
          "they are is what the mechanism decides.");
  std::vector<Json> parts = {charts({reach_chart(attention.reach(std::ssize(real)))}), choice("Factor", factors)};
  parts.insert(
      parts.begin() + 1,
      spectra.rows.empty()
          ? text(cat("Singular values of single factors are found for inputs up to ", kMostFactor, " positions."))
          : table({"factor", "largest singular value", "smallest", "largest / smallest", "numerical rank"},
                  spectra.rows));
  return {section("What the mechanism decided", about, parts)};
}

}  // namespace subquad::inspect
