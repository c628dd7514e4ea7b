// A model's score on a whole set, as training computes it for validation and test, and eval_lra for a checkpoint: the
// same batches, so that both find the same bits.
#pragma once

#include <functional>
#include <optional>

#include "subquad/examples/lra/learner.h"

namespace subquad::lra {

// Every sample once. Before each batch `go_on` is told what is counted so far; nullopt as soon as it returns false.
std::optional<Evaluation> evaluate(Learner& learner, const Sequences& set, const BatchOptions& options,
                                   const std::function<bool(const Tally& so_far)>& go_on);

}  // namespace subquad::lra
