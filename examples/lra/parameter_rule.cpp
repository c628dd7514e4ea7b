#include "subquad/examples/lra/parameter_rule.h"

#include <cmath>
#include <iomanip>
#include <sstream>

#include "subquad/examples/lra/tasks/lra_task.h"

namespace subquad::lra {

namespace {

// Counted from the configurations of google-research/long-range-arena at cd31e5c; Path-X has no base of its own there.
std::optional<Index> published_parameters(const std::string& task) {
  const std::string column = lra_task(task);
  if (column == "listops") return 8'948'746;
  if (column == "text") return 3'486'722;
  if (column == "retrieval") return 1'087'618;
  if (column == "image") return 248'458;
  if (column == "pathfinder") return 26'530;
  return std::nullopt;
}

std::string compared(const ParameterRule& rule) {
  if (rule.parameters == rule.base) return "as many as";
  const double more = 100.0 * static_cast<double>(rule.parameters - rule.base) / static_cast<double>(rule.base);
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << std::abs(more) << " % " << (more > 0 ? "more" : "fewer") << " than";
  return text.str();
}

}  // namespace

ParameterRule parameter_rule(Index parameters, const ModelOptions& options, const std::string& task,
                             const TaskShape& shape) {
  ModelOptions base;
  base.encoder.max_length = options.encoder.max_length;
  const auto model = make_model(nn::Place(1, kFloat32, kCpu), base, shape);
  return {.parameters = parameters, .base = model->parameter_count(), .published = published_parameters(task)};
}

std::string rule_text(const ParameterRule& rule) {
  const std::string count = rule.parameters == rule.base ? std::string() : cat(rule.base, " of ");
  return cat(rule.parameters, " parameters, ", compared(rule), " ", count,
             "the base Transformer (softmax, 2 layers of 64 features); ",
             rule.holds() ? "LRA's rule, at most 10 % more, holds" : "beyond LRA's 10 % rule: no score for its table",
             rule.published ? cat("; LRA's own base has ", *rule.published,
                                  rule.holds_published() ? "" : ", beside which this model is too large for its table")
                            : std::string());
}

}  // namespace subquad::lra
