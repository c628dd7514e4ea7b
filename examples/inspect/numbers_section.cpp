#include "subquad/examples/inspect/numbers_section.h"

#include <algorithm>
#include <limits>

#include "subquad/examples/inspect/singular_values.h"

namespace subquad::inspect {

namespace {

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

std::string logits_text(const HeadFacts& head, bool causal) {
  const Index n = head.matrices[0].matrix.dim(0);
  return cat("The logits q kᵀ/√E are a product of an N × E and an E × N matrix, so that their rank is at most E = ",
             head.width, ": here ", rank_text(head.logits, n, kSingle), causal ? ", before the causal mask" : "",
             ". The exponentials of a softmax work entry by entry, and lift the rank; how far shows in its spectrum.");
}

// The largest over the smallest, which below the limit of `epsilon` is only rounding.
std::string condition_text(const std::vector<double>& singular, Index n, double epsilon) {
  const double most = 1 / tolerance_of(n, epsilon);
  const bool told = singular.back() * most > singular.front();
  return told ? digits(singular.front() / singular.back()) : cat("more than ", digits(most));
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
  said += config.residual == nn::MixResidual::fixed ? "The largest singular value is "
                                                    : "Singular values multiply on the way: the largest is ";
  return said + cat(condition_text(s, n, kDouble),
                    " times the smallest here. In float64, with the weights that the model computed, ",
                    rank_text(s, n, kDouble), " are above rounding; in float32, in which the model works, ",
                    rank_text(s, n, kSingle), " are.");
}

// `precise`: there is a column for the rank in float64, in which the singular values are of that head.
std::vector<std::string> rank_head(bool precise) {
  std::vector<std::string> head = {"", "effective rank", "numerical rank, float32"};
  if (precise) head.insert(head.end(), {"numerical rank, float64", "largest / smallest singular value"});
  return head;
}

std::vector<std::string> rank_cells(const std::string& name, const std::vector<double>& singular, Index n,
                                    bool precise) {
  if (singular.empty()) return {name, "-", "-"};
  std::vector<std::string> cells = {name, digits(effective_rank(singular)), rank_text(singular, n, kSingle)};
  if (precise) cells.insert(cells.end(), {rank_text(singular, n, kDouble), condition_text(singular, n, kDouble)});
  return cells;
}

}  // namespace

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
  std::vector<std::string> columns = rank_head(head.matrices[0].precise);
  columns.insert(columns.end(), {"mean entropy, bits", "row sums", "on itself", "within 8", "within 64"});
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
    rows.push_back(rank_cells(one.name, one.singular, n, one.precise));
    for (const std::string& cell : {digits(mean_entropy(one)), range_text(least, most), share(mass_within(one, 0)),
                                    share(mass_within(one, 8)), share(mass_within(one, 64))})
      rows.back().push_back(cell);
  }
  if (!head.logits.empty()) {
    rows.push_back(rank_cells("q kᵀ/√E", head.logits, n, false));
    rows.back().resize(columns.size(), "-");
  }
  std::vector<Json> parts = {table(columns, rows), charts({spectrum_chart(head), entropy, mass})};
  if (!head.logits.empty()) parts.push_back(text(logits_text(head, config.causal)));
  if (head.matrices[0].precise) parts.push_back(text(factors_text(head.matrices[0], config.paramixer)));
  if (n > kMostSingular)
    parts.push_back(
        text(cat("Singular values are left out: they are computed for inputs up to ", kMostSingular, " positions.")));
  return section("In numbers",
                 "Of all entries, also where the pictures show blocks. The effective rank is e to the entropy of the "
                 "singular values' shares: how many directions the matrix really uses (Roy and Vetterli 2007). The "
                 "numerical rank counts those above N ε times the largest, ε of the dtype that its column names. "
                 "Weights by distance are of "
                 "absolute values.",
                 parts);
}

}  // namespace subquad::inspect
