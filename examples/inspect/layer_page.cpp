#include "subquad/examples/inspect/layer_page.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "subquad/examples/inspect/decisions.h"
#include "subquad/examples/inspect/row_facts.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/examples/inspect/softmax_matrix.h"

namespace subquad::inspect {

namespace {

// One matrix of a head, and what is known of it.
struct Known {
  std::string name;
  Tensor matrix;                 // [N, N]
  std::vector<double> singular;  // empty: not computed
  std::vector<double> entropy, sums, mass;
};

Known known(const std::string& name, const Tensor& matrix) {
  return {.name = name,
          .matrix = matrix,
          .singular = {},
          .entropy = row_entropy(matrix),
          .sums = row_sums(matrix),
          .mass = mass_by_distance(matrix)};
}

// All at once: they are worked on side by side.
void find_singular_values(std::vector<std::vector<Known>>& heads) {
  std::vector<Known*> all;
  for (std::vector<Known>& head : heads)
    for (Known& one : head) all.push_back(&one);
  const Index n = all.front()->matrix.dim(0);
  if (n > kMostSingular) return;
  Tensor stack = empty({std::ssize(all), n, n}, kFloat32, kCpu);
  for (std::size_t i = 0; i < all.size(); ++i) {
    Tensor place = stack.select(0, static_cast<Index>(i));
    copy(all[i]->matrix, place);
  }
  const Tensor values = singular_values(stack);  // [K, N]
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto row = values.span<double>().subspan(i * static_cast<std::size_t>(n), static_cast<std::size_t>(n));
    all[i]->singular.assign(row.begin(), row.end());
  }
}

// Of the rows that are not 0 throughout, which padding's are.
double mean_entropy(const Known& one) {
  double sum = 0;
  Index rows = 0;
  for (Index i = 0; i < one.matrix.dim(0); ++i) {
    const Tensor row = one.matrix.select(0, i).contiguous();
    const std::span<const float> values = row.span<float>();
    if (std::ranges::all_of(values, [](float x) { return x == 0; })) continue;
    sum += one.entropy[static_cast<std::size_t>(i)];
    ++rows;
  }
  return rows == 0 ? 0 : sum / static_cast<double>(rows);
}

double mass_within(const Known& one, std::size_t distance) {
  double sum = 0;
  for (std::size_t d = 0; d < std::min(one.mass.size(), distance + 1); ++d) sum += one.mass[d];
  return sum;
}

struct Distance {
  double relative = 0;  // |A - S| / |S|, roots of sums of squares
  double largest = 0;   // of the differences' magnitudes
  double negative = 0;  // share of A's absolute sum that its negative entries have
};

double negative_share(const Tensor& matrix) {
  const Tensor all = matrix.contiguous();
  double negative = 0, sum = 0;
  for (const float x : all.span<float>()) {
    sum += std::abs(static_cast<double>(x));
    if (x < 0) negative -= x;
  }
  return sum > 0 ? negative / sum : 0;
}

Distance distance(const Tensor& a, const Tensor& b) {
  const Tensor first = a.contiguous(), second = b.contiguous();
  const auto x = first.span<float>(), y = second.span<float>();
  double squares = 0, of_second = 0;
  Distance found;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double gap = static_cast<double>(x[i]) - y[i];
    squares += gap * gap;
    of_second += static_cast<double>(y[i]) * y[i];
    found.largest = std::max(found.largest, std::abs(gap));
  }
  found.relative = of_second > 0 ? std::sqrt(squares / of_second) : 0;
  return found;
}

Json matrices_section(const std::vector<Known>& all, Pictures& pictures) {
  const Tensor& mixing = all[0].matrix;
  std::vector<Index> group = {pictures.add({.id = "mixing",
                                            .title = "Mixing matrix",
                                            .about = "What the attention really does: row i has what query i takes of "
                                                     "every key's value.",
                                            .scale = "weights",
                                            .values = mixing,
                                            .rows = kQueries,
                                            .columns = kKeys})};
  std::vector<Json> parts;
  if (all.size() > 1) {
    group.push_back(pictures.add({.id = "softmax",
                                  .title = "Exact softmax",
                                  .about = "What softmax attention would make of the same queries and keys.",
                                  .scale = "weights",
                                  .values = all[1].matrix,
                                  .rows = kQueries,
                                  .columns = kKeys}));
    group.push_back(pictures.add_difference({.id = "difference",
                                             .title = "Difference",
                                             .about = "The first less the second.",
                                             .scale = "difference",
                                             .values = {},
                                             .rows = kQueries,
                                             .columns = kKeys},
                                            group[0], group[1]));
    const Distance apart = distance(mixing, all[1].matrix);
    parts.push_back(
        text(cat("The two differ by ", share(apart.relative), " of the exact one (Frobenius norms), at most by ",
                 digits(apart.largest), " in one entry.")));
  }
  const double negative = negative_share(mixing);
  if (negative > 0)
    parts.push_back(text(cat("Negative weights make up ", share(negative),
                             " of the mixing matrix's absolute sum; "
                             "softmax has none. They are orange, and hatched where the cells are large enough.")));
  parts.insert(parts.begin(), picture_groups({group}, "", true));
  return section("Who looks at whom", "", parts);
}

std::string range_text(double least, double most) {
  const std::string from = digits(least), to = digits(most);
  return from == to ? from : cat(from, " to ", to);
}

Json numbers_section(const std::vector<Known>& all) {
  const Index n = all[0].matrix.dim(0);
  Chart spectrum{.title = "Singular values",
                 .about = "In falling order. A matrix of low rank falls off early; one of full rank does not.",
                 .x = "number",
                 .y = "value",
                 .log = true};
  Chart entropy{.title = "Entropy of each row",
                .about = "In bits: b bits are as many as 2^b keys with equal weights. Shares are of absolute values.",
                .x = "query",
                .y = "bits"};
  Chart mass{.title = "Weight by distance",
             .about = "How much of a row falls on keys at most so far away, mean over queries.",
             .x = "distance, at most",
             .y = "share",
             .log_x = n > 64};
  std::vector<std::vector<std::string>> rows;
  for (const Known& one : all) {
    spectrum.lines.push_back(line(one.name, one.singular, 1));
    entropy.lines.push_back(line(one.name, one.entropy));
    std::vector<double> within;
    for (const double share : one.mass) within.push_back((within.empty() ? 0 : within.back()) + share);
    Line curve{one.name, {}};
    for (std::size_t d = n > 64 ? 1 : 0; d < within.size(); ++d)
      curve.points.push_back({static_cast<double>(d), within[d]});
    mass.lines.push_back(curve);
    const auto [least, most] = std::ranges::minmax(one.sums);
    rows.push_back({one.name, one.singular.empty() ? "-" : digits(effective_rank(one.singular)),
                    one.singular.empty() ? "-" : cat(numerical_rank(one.singular), " of ", n),
                    digits(mean_entropy(one)), range_text(least, most), share(mass_within(one, 0)),
                    share(mass_within(one, 8)), share(mass_within(one, 64))});
  }
  std::vector<Json> parts = {table({"", "effective rank", "numerical rank", "mean entropy, bits", "row sums",
                                    "on itself", "within 8", "within 64"},
                                   rows),
                             charts({spectrum, entropy, mass})};
  if (n > kMostSingular)
    parts.push_back(
        text(cat("Singular values are left out: they are computed for inputs up to ", kMostSingular, " positions.")));
  return section("In numbers",
                 "Of all entries, also where the pictures show blocks. The effective rank is e to the entropy of the "
                 "singular values' shares: how many directions the matrix really uses (Roy and Vetterli 2007).",
                 parts);
}

}  // namespace

LayerMatrices layer_matrices(const LayerSight& layer, const nn::AttentionConfig& config) {
  const NoGrad no_grad;
  LayerMatrices made{.mixing = layer.attention->mixing_matrix(layer.in).to(kCpu).select(0, 0)};
  const nn::Heads heads = layer.attention->project(layer.in);
  if (heads.q.defined())
    made.softmax = softmax_matrix(heads.q.value(), heads.k.value(), layer.in.mask, config.causal).select(0, 0);
  return made;
}

Json layer_record(const LayerSight& layer, const LayerMatrices& matrices, const nn::AttentionConfig& config,
                  const PositionNames& names, Pictures& pictures) {
  std::vector<std::vector<Known>> all;
  for (Index h = 0; h < matrices.mixing.dim(0); ++h) {
    all.push_back({known("mixing", matrices.mixing.select(0, h))});
    if (matrices.softmax.defined()) all.back().push_back(known("softmax", matrices.softmax.select(0, h)));
  }
  find_singular_values(all);
  Json heads = Json::array();
  std::vector<Json> sections;
  for (const std::vector<Known>& head : all) sections.push_back(matrices_section(head, pictures));
  const std::vector<Json> decided = decisions({layer, config, names, pictures});
  for (std::size_t h = 0; h < all.size(); ++h)
    heads.push_back({{"sections", {sections[h], numbers_section(all[h]), decided[h]}}});
  return {{"about", mechanism_text(config)}, {"heads", heads}};
}

}  // namespace subquad::inspect
