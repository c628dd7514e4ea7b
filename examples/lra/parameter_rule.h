// Long Range Arena's rule for a score beside those of its table: at most 10 % more parameters than the base Transformer
// of the task's configuration (Tay et al. 2021, appendix; README of its code).
#pragma once

#include <optional>
#include <string>

#include "subquad/examples/lra/model.h"

namespace subquad::lra {

// The base is the Transformer of the presets: the two-layer encoder of 64 features with softmax attention, as long as
// the run's model is and with its task's tokens and classes.
struct ParameterRule {
  Index parameters = 0;
  Index base = 0;
  std::optional<Index> published;  // of the base Transformer in LRA's own code, which is another, mostly larger one

  bool holds() const { return 10 * parameters <= 11 * base; }
  bool holds_published() const { return !published || 10 * parameters <= 11 * *published; }
};

ParameterRule parameter_rule(Index parameters, const ModelOptions& options, const std::string& task,
                             const TaskShape& shape);

// "208778 parameters, as many as the base Transformer (softmax, 2 layers of 64 features); LRA's rule, at most 10 %
// more, holds".
std::string rule_text(const ParameterRule& rule);

}  // namespace subquad::lra
