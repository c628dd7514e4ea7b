#include "subquad/examples/inspect/layer_page.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "subquad/examples/inspect/decisions.h"
#include "subquad/examples/inspect/paramixer_factors.h"
#include "subquad/examples/inspect/row_facts.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/examples/inspect/softmax_matrix.h"
#include "subquad/kernels/copy/copy.h"
#include "subquad/nn/attention/matrix_of.h"
#include "subquad/nn/attention/nystrom.h"

namespace subquad::inspect {

namespace {

// One matrix of a head, and what is known of it.
struct Known {
  std::string name;
  Tensor matrix;                 // [N, N]
  std::vector<double> singular;  // empty: not computed
  std::vector<double> entropy, sums, mass;
  bool precise = false;  // singular values are of the matrix in float64
};

struct HeadFacts {
  // The mixing matrix first; behind it, where there are such, F Z S without its convolution, and softmax's matrix.
  std::vector<Known> matrices;
  std::vector<double> logits;  // singular values of q k^T / sqrt(E) over real tokens; empty without q and k
  Index width = 0;             // E
};

Known known(const std::string& name, const Tensor& matrix) {
  return {.name = name,
          .matrix = matrix,
          .singular = {},
          .entropy = row_entropy(matrix),
          .sums = row_sums(matrix),
          .mass = mass_by_distance(matrix)};
}

std::vector<double> numbers_of(const Tensor& values) {
  const auto all = values.span<double>();
  return {all.begin(), all.end()};
}

// Of a Paramixer in float64, of the same weights: its product is so badly conditioned that float32 hides its rank.
void find_precise(const LayerSight& layer, const nn::AttentionConfig& config, Known& mixing) {
  mixing.singular = numbers_of(singular_values(paramixer_factors(layer, config.paramixer, 0).product));
  mixing.precise = true;
}

// All at once: they are worked on side by side.
void find_singular_values(std::vector<HeadFacts>& heads) {
  std::vector<Known*> all;
  for (HeadFacts& head : heads)
    for (Known& one : head.matrices)
      if (!one.precise) all.push_back(&one);
  if (all.empty()) return;
  const Index n = all.front()->matrix.dim(0);
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

// Rows of real tokens of q or k [1, H, N, E].
Tensor real_rows(const Variable& rows, Index head, const Mask& mask) {
  const Tensor all = rows.value().to(kCpu).select(0, 0).select(0, head);
  if (!mask.defined()) return all;
  std::vector<Tensor> real;
  for (Index i = 0; i < all.dim(0); ++i)
    if (mask.real.select(0, 0).slice(0, i, i + 1).item<bool>()) real.push_back(all.slice(0, i, i + 1));
  return real.empty() ? all.slice(0, 0, 0) : kernels::concat(real, 0);
}

void find_logits(const LayerSight& layer, std::vector<HeadFacts>& heads) {
  const NoGrad no_grad;
  const nn::Heads projected = layer.attention->project(layer.in);
  if (!projected.q.defined()) return;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto head = static_cast<Index>(h);
    heads[h].logits = product_singular_values(real_rows(projected.q, head, layer.in.mask),
                                              real_rows(projected.k, head, layer.in.mask));
    heads[h].width = layer.attention->head_width();
    for (double& s : heads[h].logits) s /= std::sqrt(static_cast<double>(heads[h].width));
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

constexpr const char *kMixing = "mixing", *kAlone = "F Z S", *kSoftmax = "softmax";

const Known* named(const HeadFacts& head, const std::string& name) {
  const auto found = std::ranges::find(head.matrices, name, &Known::name);
  return found == head.matrices.end() ? nullptr : &*found;
}

// What softmax's matrix is compared with.
const Known& approximation(const HeadFacts& head) {
  const Known* alone = named(head, kAlone);
  return alone ? *alone : head.matrices[0];
}

Picture square(const std::string& id, const std::string& title, const std::string& about, const std::string& scale,
               const Tensor& values = {}) {
  return {
      .id = id, .title = title, .about = about, .scale = scale, .values = values, .rows = kQueries, .columns = kKeys};
}

// What the mixing matrix has beyond F Z S: nothing outside of a band, where both are rounded alike.
Tensor band(const Tensor& mixing, const Tensor& alone, Index taps) {
  Tensor out = zeros(mixing.shape(), kFloat32, kCpu);
  const auto a = mixing.view<const float, 2>(), b = alone.view<const float, 2>();
  const auto made = out.view<float, 2>();
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = std::max<Index>(0, i - taps / 2); j < std::min(a.dim(1), i + taps / 2 + 1); ++j)
      made(i, j) = a(i, j) - b(i, j);
  return out;
}

std::vector<Index> square_pictures(const HeadFacts& head, Index taps, Pictures& pictures) {
  const Known *alone = named(head, kAlone), *softmax = named(head, kSoftmax);
  const std::string whole = alone ? "weights with the convolution" : "weights";
  std::vector<Index> group = {pictures.add(square("mixing", "Mixing matrix",
                                                  cat("What the attention really does: row i has what query i takes of "
                                                      "every key's value",
                                                      alone ? ": F Z S + convolution." : "."),
                                                  whole, head.matrices[0].matrix))};
  if (alone)
    group.push_back(pictures.add(square("alone", kAlone,
                                        "The mixing matrix without the convolution: what stands for "
                                        "softmax's.",
                                        "weights", alone->matrix)));
  if (softmax) {
    const Index compared = group.back();
    group.push_back(pictures.add(square("softmax", "Exact softmax",
                                        "What softmax attention would make of the same queries and keys.", "weights",
                                        softmax->matrix)));
    group.push_back(
        pictures.add_difference(square("difference", "Difference",
                                       alone ? "F Z S less softmax's." : "The first less the second.", "difference"),
                                compared, group.back()));
  }
  if (alone)
    group.push_back(pictures.add(square("convolution", "Convolution",
                                        "The third part: what a position adds of the values around it.", whole,
                                        band(head.matrices[0].matrix, alone->matrix, taps))));
  return group;
}

std::string distance_text(const HeadFacts& head, const Known& softmax) {
  const Known *alone = named(head, kAlone), &compared = approximation(head);
  const Distance apart = distance(compared.matrix, softmax.matrix);
  std::string said = cat(alone ? "F Z S and softmax's matrix" : "The two", " differ by ", share(apart.relative),
                         " of the exact one (Frobenius norms), at most by ", digits(apart.largest), " in one entry.");
  if (alone)
    said += cat(" The mixing matrix is F Z S + convolution, which approximates nothing: with it the difference is ",
                share(distance(head.matrices[0].matrix, softmax.matrix).relative), ".");
  return said;
}

Json matrices_section(const HeadFacts& head, Index taps, Pictures& pictures) {
  std::vector<Json> parts = {picture_groups({square_pictures(head, taps, pictures)}, "", true)};
  if (const Known* softmax = named(head, kSoftmax)) parts.push_back(text(distance_text(head, *softmax)));
  const double negative = negative_share(head.matrices[0].matrix);
  if (negative > 0)
    parts.push_back(text(cat("Negative weights make up ", share(negative),
                             " of the mixing matrix's absolute sum; "
                             "softmax has none. They are orange, and hatched where the cells are large enough.")));
  return section("Who looks at whom", "", parts);
}

// Why it is softmax, where its options tell.
std::string exact_reason(const nn::AttentionConfig& config, Index n) {
  if (config.kind == "nystrom" && config.nystrom.exact_when_covered && config.nystrom.landmarks >= n)
    return cat("there are no more positions (", n, ") than landmarks (", config.nystrom.landmarks, ")");
  if (config.kind == "fsat" && config.fsat.lags >= n) return cat("every diagonal is kept: there are ", n);
  if (config.kind == "fsat" && config.fsat.columns >= n) return cat("every column is kept: there are ", n);
  if (config.kind == "fsat") return "the diagonals and columns that are kept hold every key of every query";
  if (config.kind == "combiner") return "every query sees all tokens directly";
  if (config.kind == "local") return "the window holds every key of every query";
  return "";
}

// Two ways to the same matrix differ by no more than that, as a share of it.
constexpr double kSame = 1e-5;

// By the numbers, not by the options: "" where anything is approximated.
std::string exact_text(const std::vector<HeadFacts>& heads, const nn::AttentionConfig& config) {
  if (config.kind == "softmax") return "";
  for (const HeadFacts& head : heads) {
    const Known* softmax = named(head, kSoftmax);
    if (!softmax || distance(approximation(head).matrix, softmax->matrix).relative > kSame) return "";
  }
  const std::string reason = exact_reason(config, heads[0].matrices[0].matrix.dim(0));
  return cat("On this input ",
             named(heads[0], kAlone) ? "this is softmax attention itself, and the convolution beside it"
                                     : "this is softmax attention itself",
             reason.empty() ? "" : ", as ", reason,
             ". Nothing is approximated; a longer input shows what the mechanism does.");
}

std::string range_text(double least, double most) {
  const std::string from = digits(least), to = digits(most);
  return from == to ? from : cat(from, " to ", to);
}

// What is above the rounding of a matrix of n rows, relative to its largest singular value.
double tolerance_of(Index n, double epsilon) {
  return static_cast<double>(n) * epsilon;
}

constexpr double kSingle = std::numeric_limits<float>::epsilon(), kDouble = std::numeric_limits<double>::epsilon();

std::string rank_text(const std::vector<double>& singular, Index n, double epsilon) {
  return cat(numerical_rank(singular, tolerance_of(n, epsilon)), " of ", n);
}

Chart spectrum_chart(const HeadFacts& head) {
  const Known& mixing = head.matrices[0];
  const Index n = mixing.matrix.dim(0);
  Chart chart{.title = "Singular values",
              .about =
                  "In falling order. What is below the limit is not told apart from rounding; the numerical rank "
                  "counts what is above.",
              .x = "number",
              .y = "value",
              .log = true};
  for (const Known& one : head.matrices) chart.lines.push_back(line(one.name, one.singular, 1));
  if (!head.logits.empty()) chart.lines.push_back(line("q kᵀ/√E", head.logits, 1));
  if (mixing.singular.empty() || mixing.singular[0] == 0) return chart;
  const auto limit_of = [&](const std::string& name, double epsilon) {
    chart.lines.push_back(limit(name, tolerance_of(n, epsilon) * mixing.singular[0], n));
  };
  limit_of(mixing.precise ? "float32's limit" : "limit", kSingle);
  if (mixing.precise) limit_of("float64's limit", kDouble);
  return chart;
}

std::string logits_text(const HeadFacts& head) {
  const Index n = head.matrices[0].matrix.dim(0);
  return cat("The logits q kᵀ/√E are a product of an N × E and an E × N matrix, so that their rank is at most E = ",
             head.width, ": here ", rank_text(head.logits, n, kSingle),
             ". The exponentials of a softmax work entry by entry, and lift the rank; how far shows in its spectrum.");
}

std::string factors_text(const Known& mixing, const nn::ParamixerConfig& config) {
  const std::vector<double>& s = mixing.singular;
  const Index n = mixing.matrix.dim(0);
  std::string said = config.residual == nn::MixResidual::running
                         ? "Every factor I + W has full rank with probability 1, as its determinant is 0 only by "
                           "accident, and so has their product. "
                     : config.residual == nn::MixResidual::none
                         ? "The product has full rank where every factor W has. "
                         : "A sum of products of the factors: nothing bounds its rank from above but N. ";
  if (s.empty()) return said;
  const bool told = s.back() > tolerance_of(n, kDouble) * s.front();
  said += config.residual == nn::MixResidual::fixed ? "The largest singular value is "
                                                    : "Singular values multiply on the way: the largest is ";
  return said + cat(told ? digits(s.front() / s.back()) : cat("more than ", digits(1 / tolerance_of(n, kDouble))),
                    " times the smallest here. In float64, with the weights that the model computed, ",
                    rank_text(s, n, kDouble), " are above rounding; in float32, in which the model works, ",
                    rank_text(s, n, kSingle), " are.");
}

std::vector<std::string> rank_cells(const std::string& name, const std::vector<double>& singular, Index n) {
  if (singular.empty()) return {name, "-", "-"};
  return {name, digits(effective_rank(singular)), rank_text(singular, n, kSingle)};
}

Json numbers_section(const HeadFacts& head, const nn::AttentionConfig& config) {
  const Index n = head.matrices[0].matrix.dim(0);
  Chart entropy{.title = "Entropy of each row",
                .about = "In bits: b bits are as many as 2^b keys with equal weights. Shares are of absolute values.",
                .x = "query",
                .y = "bits"};
  Chart mass{.title = "Weight by distance",
             .about = "How much of a row's absolute values falls on keys at most so far away, mean over queries.",
             .x = "distance, at most",
             .y = "share",
             .log_x = n > 64};
  std::vector<std::vector<std::string>> rows;
  for (const Known& one : head.matrices) {
    entropy.lines.push_back(line(one.name, one.entropy));
    std::vector<double> within;
    for (const double share : one.mass) within.push_back((within.empty() ? 0 : within.back()) + share);
    Line curve{one.name, {}};
    for (std::size_t d = n > 64 ? 1 : 0; d < within.size(); ++d)
      curve.points.push_back({static_cast<double>(d), within[d]});
    mass.lines.push_back(curve);
    const auto [least, most] = std::ranges::minmax(one.sums);
    rows.push_back(rank_cells(one.name, one.singular, n));
    for (const std::string& cell : {digits(mean_entropy(one)), range_text(least, most), share(mass_within(one, 0)),
                                    share(mass_within(one, 8)), share(mass_within(one, 64))})
      rows.back().push_back(cell);
  }
  if (!head.logits.empty()) {
    rows.push_back(rank_cells("q kᵀ/√E", head.logits, n));
    rows.back().resize(8, "-");
  }
  std::vector<Json> parts = {table({"", "effective rank", "numerical rank", "mean entropy, bits", "row sums",
                                    "on itself", "within 8", "within 64"},
                                   rows),
                             charts({spectrum_chart(head), entropy, mass})};
  if (!head.logits.empty()) parts.push_back(text(logits_text(head)));
  if (head.matrices[0].precise) parts.push_back(text(factors_text(head.matrices[0], config.paramixer)));
  if (n > kMostSingular)
    parts.push_back(
        text(cat("Singular values are left out: they are computed for inputs up to ", kMostSingular, " positions.")));
  return section("In numbers",
                 "Of all entries, also where the pictures show blocks. The effective rank is e to the entropy of the "
                 "singular values' shares: how many directions the matrix really uses (Roy and Vetterli 2007). The "
                 "numerical rank counts those above N ε times the largest, ε of float32. Weights by distance are of "
                 "absolute values.",
                 parts);
}

Tensor without_convolution(const nn::NystromAttention& attention, const nn::AttentionInput& in,
                           const nn::Heads& heads) {
  const auto mix = [&](const Variable& values) {
    return nn::nystrom_attention(heads.q, heads.k, values, {}, in.mask, attention.config());
  };
  return nn::matrix_of({.batch = 1,
                        .heads = attention.heads(),
                        .positions = in.values.dim(1),
                        .columns = attention.head_width(),
                        .dtype = attention.dtype(),
                        .device = attention.device()},
                       mix)
      .to(kCpu)
      .select(0, 0);
}

}  // namespace

LayerMatrices layer_matrices(const LayerSight& layer, const nn::AttentionConfig& config) {
  const NoGrad no_grad;
  LayerMatrices made{.mixing = layer.attention->mixing_matrix(layer.in).to(kCpu).select(0, 0)};
  const nn::Heads heads = layer.attention->project(layer.in);
  const auto* nystrom = dynamic_cast<const nn::NystromAttention*>(layer.attention);
  if (nystrom && nystrom->taps().defined()) made.alone = without_convolution(*nystrom, layer.in, heads);
  if (heads.q.defined())
    made.softmax = softmax_matrix(heads.q.value(), heads.k.value(), layer.in.mask, config.causal).select(0, 0);
  return made;
}

Json layer_record(const LayerSight& layer, const LayerMatrices& matrices, const nn::AttentionConfig& config,
                  const PositionNames& names, Pictures& pictures) {
  std::vector<HeadFacts> all;
  for (Index h = 0; h < matrices.mixing.dim(0); ++h) {
    std::vector<Known>& known_of = all.emplace_back().matrices;
    known_of.push_back(known(kMixing, matrices.mixing.select(0, h)));
    if (matrices.alone.defined()) known_of.push_back(known(kAlone, matrices.alone.select(0, h)));
    if (matrices.softmax.defined()) known_of.push_back(known(kSoftmax, matrices.softmax.select(0, h)));
  }
  find_logits(layer, all);
  if (matrices.mixing.dim(1) <= kMostSingular) {
    if (config.kind == "paramixer") find_precise(layer, config, all[0].matrices[0]);
    find_singular_values(all);
  }
  Json heads = Json::array();
  std::vector<Json> sections;
  for (const HeadFacts& head : all) sections.push_back(matrices_section(head, config.nystrom.conv_kernel, pictures));
  const std::vector<Json> decided = decisions({layer, config, names, pictures});
  for (std::size_t h = 0; h < all.size(); ++h)
    heads.push_back({{"sections", {sections[h], numbers_section(all[h], config), decided[h]}}});
  return {{"about", mechanism_text(config)}, {"exact", exact_text(all, config)}, {"heads", heads}};
}

}  // namespace subquad::inspect
