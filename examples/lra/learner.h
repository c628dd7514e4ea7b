// A model with its optimiser: takes training steps, predicts, and is saved and loaded as named tensors.
#pragma once

#include <map>
#include <memory>
#include <span>

#include "subquad/core/graph.h"
#include "subquad/core/precision.h"
#include "subquad/core/readback.h"
#include "subquad/core/upload.h"
#include "subquad/examples/lra/evaluation.h"
#include "subquad/examples/lra/tasks/task.h"
#include "subquad/examples/lra/train_options.h"
#include "subquad/nn/optim/adamw.h"

namespace subquad::lra {

struct StepResult {
  Index step = 0;
  Tally tally;
  double rate = 0;
  double gradient_norm = 0;  // before clipping
};

class Learner {
 public:
  Learner(const TrainOptions& options, const TaskShape& task);
  ~Learner();

  // Starts a step: forward, loss and backward of each micro-batch, then clipping and one update by the gradient of the
  // mean loss of all samples together. `step` counts from 0 over the whole run. Returns before the device is through:
  // results come from finish(). A step whose loss or gradient is not finite changes no parameter.
  //
  // With --cuda-graph the first step of a batch shape runs as always, the second one is recorded, and from then on that
  // shape's record is replayed: the same bits, started by one call. A step is one batch then.
  void train(std::span<const Batch> micro_batches, Index step);
  void train(const Batch& batch, Index step) { train({&batch, 1}, step); }

  // Waits for the steps started since the last call; their results, in order. Error naming the first step whose loss or
  // gradient was not finite, or what a kernel of theirs complained of; none of the results is told again then.
  std::vector<StepResult> finish();

  struct Prediction {
    Tally tally;
    std::vector<std::int64_t> classes;  // one a sample of the batch
    Tensor logits;                      // float32 [B, C], on the CPU
  };
  Prediction predict(const Batch& batch);  // no dropout, no graph

  Index parameter_count() const { return model_->parameter_count(); }
  nn::Classifier& model() { return *model_; }

  // "model.<parameter>", "optimizer.m.<parameter>", ...; views, which the next step changes.
  nn::StateDict state_dict() const;
  void load_state_dict(const nn::StateDict& state);  // Error that names what differs, in the model first
  void load_model(const nn::StateDict& state);       // the parameters only

 private:
  struct Recording;  // a step of one batch shape, with the buffers that its inputs are copied to

  struct Started {  // a step whose results nobody has looked at yet
    Index step = 0;
    Index samples = 0;
    double rate = 0;
    Readback numbers;  // as compute() returns them
  };

  double prepare(Index step);  // puts the step's numbers where its kernels read them; the learning rate
  Tensor compute(std::span<const Batch> micro_batches);  // float64 [3]: sum of losses, gradient norm, right predictions
  Tensor replayed(const Batch& batch);                   // the same, by a recording

  std::unique_ptr<nn::Classifier> model_;
  nn::ParameterArena arena_;
  nn::AdamW optimizer_;
  nn::Schedule schedule_;
  double clip_norm_;
  Precision precision_;
  bool record_;
  RandomState rng_;
  std::map<std::pair<Index, Index>, std::unique_ptr<Recording>> recordings_;  // by batch size and positions
  Graph first_graph_;  // whose memory all others use, too: one step is replayed at a time

  Upload upload_;
  std::vector<Started> started_;
};

}  // namespace subquad::lra
