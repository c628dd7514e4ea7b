// A mixer that learns one of the two problems, step by step.
#pragma once

#include <memory>

#include "subquad/examples/adding_problem/problems.h"
#include "subquad/nn/mixer.h"
#include "subquad/nn/optim/optimizer.h"
#include "subquad/nn/schedule.h"

namespace subquad::adding_problem {

struct LearnerOptions {
  Source source;
  Index width = 32;
  Index blocks = 1;
  nn::AttentionConfig attention = {.kind = "paramixer"};
  Index batch_size = 40;
  Index train_items = 0;  // a set of so many is used again and again, in order; 0: every item is new
  nn::Schedule schedule;
  double clip_norm = 1;  // 0: gradients are not clipped
  std::uint64_t seed = 1;
};

nn::MixerConfig mixer_config(const LearnerOptions& options);

class Learner {
 public:
  explicit Learner(const LearnerOptions& options);

  double train();                            // one step; its loss
  double error(Set set, Index count) const;  // share of the first `count` items that are answered wrongly
  Index steps() const { return step_; }
  Index parameter_count() const { return model_->parameter_count(); }

 private:
  Variable answers(const Tensor& inputs) const;  // [B, 1], or logits [B, 4]
  Index wrong(const Items& items) const;

  LearnerOptions options_;
  std::unique_ptr<nn::Module> model_;
  const nn::FeatureMixer* adding_ = nullptr;  // the one of both that model_ is
  const nn::TokenMixer* order_ = nullptr;
  std::unique_ptr<nn::ParameterArena> arena_;
  std::unique_ptr<nn::Optimizer> optimizer_;
  Index step_ = 0;
};

}  // namespace subquad::adding_problem
