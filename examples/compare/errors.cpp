#include "subquad/examples/compare/errors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "subquad/examples/compare/limits.h"
#include "subquad/examples/compare/picked_module.h"
#include "subquad/examples/compare/work.h"
#include "subquad/examples/inspect/softmax_matrix.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/nn/attention/combiner.h"

namespace subquad::compare {

namespace {

using nn::AttentionConfig;

// Those whose budgets are varied; any other one is measured as it is.
constexpr std::array<std::string_view, 6> kBudgeted = {"softmax", "nystrom", "fsat", "paramixer", "combiner", "local"};

class Measurement {
 public:
  Measurement(const Inputs& in, const ErrorOptions& options, const std::function<void(const std::string&)>& told)
      : in_(in), options_(options), told_(told), exact_(exact_matrix(in)), exact_out_(kernels::matmul(exact_, in.v)) {}

  std::vector<ErrorRow> run() {
    without_budget();
    for (const Index keys : options_.keys) {
      const Index half = std::max<Index>(1, keys / 2);
      module("local", cat("window ", half), keys, {.kind = "local", .local = {.window = half}});
      nystrom(half, keys);
      combiner(half, keys);
      fsat(half, keys);
    }
    low_rank();
    for (const Index factors : options_.factors) fit("paramixer, fitted", factors, 0);
    for (const Index links : options_.links) fit("paramixer, fitted, cdil", 0, links);
    return std::move(rows_);
  }

 private:
  Index positions() const { return in_.positions(); }

  ErrorRow& add(const std::string& way, const std::string& budget, Index keys, double flops, const Tensor& matrix) {
    rows_.push_back({.inputs = in_.name,
                     .positions = positions(),
                     .way = way,
                     .budget = budget,
                     .keys = keys,
                     .flops = flops,
                     .matrix_error = relative_error(matrix, exact_),
                     .output_error = relative_error(kernels::matmul(matrix, in_.v), exact_out_)});
    return rows_.back();
  }

  void module(const std::string& way, const std::string& budget, Index keys, const AttentionConfig& config,
              FsatCross cross = FsatCross::fresh, bool chooses = false) {
    told_(cat(way, budget.empty() ? "" : ", ", budget));
    const Tensor matrix = picked_matrix(config, in_, options_.seed, cross);
    ErrorRow& row = add(way, budget, keys, picked_flops(config, in_, cross), matrix);
    if (chooses) row.mass = mass_seen(matrix, exact_);
  }

  void without_budget() {
    module("softmax", "", 0, {.kind = "softmax"});
    const double each = 1 / static_cast<double>(positions());
    add("mean of all", "", 0, 0, full({positions(), positions()}, each, kFloat32, kCpu));
    module("combiner, logsparse", "", 0, {.kind = "combiner", .combiner = {.pattern = nn::CombinerPattern::logsparse}});
    grids();
    module("paramixer, fresh", "", 0, {.kind = "paramixer"});
    for (const std::string& kind : nn::attention_kinds())
      if (std::ranges::find(kBudgeted, kind) == kBudgeted.end()) module(kind, "", 0, {.kind = kind});
  }

  // Of Combiner: s tokens a row make N / s rows, and a query's work, s + N / s or a few times that, cannot be made to
  // fall with a budget: it is least near s = sqrt(N), which is the segment that it chooses itself.
  void grids() {
    for (const nn::CombinerPattern pattern : {nn::CombinerPattern::rowmajor, nn::CombinerPattern::vertical,
                                              nn::CombinerPattern::horizontal, nn::CombinerPattern::mixture}) {
      nn::CombinerConfig config{.pattern = pattern};
      if (pattern == nn::CombinerPattern::rowmajor) config.summary = nn::CombinerSummary::none;  // others learn
      const Index segment = nn::combiner_segment(config, positions());
      module(cat("combiner, ", nn::combiner_pattern_name(pattern)), cat("rows of ", segment), 0,
             {.kind = "combiner", .combiner = config});
    }
  }

  void nystrom(Index landmarks, Index keys) {
    if (landmarks >= positions()) return;  // softmax attention itself
    module("nystrom", cat(landmarks, " landmarks"), keys, {.kind = "nystrom", .nystrom = {.landmarks = landmarks}});
    module("nystrom, 14 steps", cat(landmarks, " landmarks"), keys,
           {.kind = "nystrom", .nystrom = {.landmarks = landmarks, .pinv_iterations = 14}});
    ranks_.push_back(landmarks);
  }

  void combiner(Index segment, Index keys) {
    for (const auto& [way, pool] :
         {std::pair("combiner, max", nn::CombinerPool::max), std::pair("combiner, mean", nn::CombinerPool::mean)})
      module(way, cat("segments of ", segment), keys,
             {.kind = "combiner", .combiner = {.segment = segment, .pool = pool}});
  }

  // No lag is forced: what is compared is the choice.
  void fsat(Index half, Index keys) {
    const std::string budget = cat(half, " + ", half);
    const AttentionConfig config{.kind = "fsat", .fsat = {.lags = half, .columns = half, .window = -1}};
    for (const auto& [way, cross] :
         {std::pair("fsat, fresh", FsatCross::fresh), std::pair("fsat, cross of q and k", FsatCross::queries_and_keys)})
      module(way, budget, keys, config, cross, /*chooses=*/true);
    told_(cat("best lags and columns, ", budget));
    const LagColumnChoice best = best_lag_columns(exact_, half, half);
    const double flops = chosen_flops(half, half, positions(), in_.width());
    ErrorRow& chosen =
        add("best lags and columns", budget, keys, flops, along_lag_columns(exact_, best.lags, best.columns));
    chosen.mass = best.mass;
    chosen.most = best.most;
    const Tensor matrix = along_best_keys(exact_, 2 * half);
    const double per_query = 4 * static_cast<double>(2 * half * in_.width());
    add("best keys", cat(2 * half, " a query"), keys, per_query, matrix).mass = mass_seen(matrix, exact_);
    add("best sparse", cat(2 * half, " a query"), keys, per_query, best_sparse(exact_, 2 * half));
  }

  void low_rank() {
    if (ranks_.empty()) return;
    told_("best rank");
    const std::vector<double> errors = low_rank_errors(exact_, ranks_);
    for (std::size_t i = 0; i < errors.size(); ++i)
      rows_.push_back({.inputs = in_.name,
                       .positions = positions(),
                       .way = "best rank",
                       .budget = cat("rank ", ranks_[i]),
                       .keys = 2 * ranks_[i],
                       .flops = 4 * static_cast<double>(ranks_[i] * in_.width()),
                       .matrix_error = errors[i],
                       .output_error = std::numeric_limits<double>::quiet_NaN()});
  }

  void fit(const std::string& way, Index factors, Index links) {
    FitOptions options = options_.fit;
    options.factors = factors;
    options.links = links;
    told_(cat(way, " in ", options.steps, " steps"));
    const SparseFactors found = fit_sparse_factors(exact_, options);
    add(way, cat(found.factors, " factors of ", found.links, " links"), 0,
        factor_flops(found.factors, found.links, in_.width()), found.matrix);
  }

  const Inputs& in_;
  const ErrorOptions& options_;
  const std::function<void(const std::string&)>& told_;
  Tensor exact_, exact_out_;  // [N, N], [N, E]
  std::vector<Index> ranks_;
  std::vector<ErrorRow> rows_;
};

}  // namespace

Tensor exact_matrix(const Inputs& in) {
  const Shape head = {1, 1, in.positions(), in.width()}, matrix = {in.positions(), in.positions()};
  return inspect::softmax_matrix(in.q.reshape(head), in.k.reshape(head)).reshape(matrix);
}

std::vector<ErrorRow> measure_errors(const Inputs& in, const ErrorOptions& options,
                                     const std::function<void(const std::string&)>& told) {
  return Measurement(in, options, told).run();
}

}  // namespace subquad::compare
