// A model with its optimiser: takes training steps, predicts, and is saved and loaded as named tensors.
#pragma once

#include "subquad/examples/lra/evaluation.h"
#include "subquad/examples/lra/task.h"
#include "subquad/examples/lra/train_options.h"
#include "subquad/nn/optim/adamw.h"

namespace subquad::lra {

struct StepResult {
  Tally tally;
  double rate = 0;
  double gradient_norm = 0;  // before clipping
};

class Learner {
 public:
  Learner(const TrainOptions& options, Index vocabulary, Index classes);

  // Forward, loss, backward, clipping and update. `step` counts from 0 over the whole run. Error when loss or gradient
  // is not finite; the parameters are then those of before the step.
  StepResult train(const Batch& batch, Index step);

  struct Prediction {
    Tally tally;
    std::vector<std::int64_t> classes;  // one a sample of the batch
  };
  Prediction predict(const Batch& batch);  // no dropout, no graph

  Index parameter_count() const { return model_.parameter_count(); }

  // "model.<parameter>", "optimizer.m.<parameter>", ...; views, which the next step changes.
  nn::StateDict state_dict() const;
  void load_state_dict(const nn::StateDict& state);  // Error that names what differs, in the model first
  void load_model(const nn::StateDict& state);       // the parameters only

 private:
  double rate_of(Index step);

  nn::SequenceClassifier model_;
  nn::ParameterArena arena_;
  nn::AdamW optimizer_;
  nn::Schedule schedule_;
  double clip_norm_;
  RandomState rng_;
};

}  // namespace subquad::lra
