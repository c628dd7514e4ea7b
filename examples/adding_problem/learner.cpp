#include "subquad/examples/adding_problem/learner.h"

#include <algorithm>
#include <cmath>

#include "subquad/kernels/count_correct/count_correct.h"
#include "subquad/kernels/top_k/top_k.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/optim/clip.h"

namespace subquad::adding_problem {

namespace {

const char* const kAdvice = "; a lower --learning-rate may help";

}  // namespace

// As published: no norm, no dropout, flatten head; positions for the order task only.
nn::MixerConfig mixer_config(const LearnerOptions& options) {
  const bool adding = options.source.problem == Problem::adding;
  return {.outputs = adding ? 1 : kOrders,
          .max_length = options.source.length,
          .width = options.width,
          .blocks = options.blocks,
          .attention = options.attention,
          .positions = adding ? nn::PositionKind::none : nn::PositionKind::learned,
          .pooling = nn::Pooling::flatten,
          .masked = false};  // there is no padding
}

Learner::Learner(const LearnerOptions& options) : options_(options) {
  const nn::Place place(options.seed, kFloat32, kCpu);
  if (options.source.problem == Problem::adding) {
    auto model = std::make_unique<nn::FeatureMixer>(place, 2, mixer_config(options));
    adding_ = model.get();
    model_ = std::move(model);
  } else {
    auto model = std::make_unique<nn::TokenMixer>(
        place, nn::TokenMixerConfig{.vocabulary = kSymbols, .mixer = mixer_config(options)});
    order_ = model.get();
    model_ = std::move(model);
  }
  arena_ = std::make_unique<nn::ParameterArena>(*model_);
  optimizer_ = nn::make_optimizer(*arena_, {.kind = "adam"});
}

Variable Learner::answers(const Tensor& inputs) const {
  try {
    return adding_ != nullptr ? (*adding_)(Variable(inputs), {}, {}) : (*order_)(inputs, {}, {});
  } catch (const kernels::NanError& error) {  // FSAT's choice refuses what a diverged model gives it
    throw Error(cat("step ", step_, ": ", error.what(), kAdvice));
  }
}

double Learner::train() {
  const Index seen = step_ * options_.batch_size;
  const Index first = options_.train_items > 0 ? seen % options_.train_items : seen;
  const Items items = options_.source.items(Set::train, first, options_.batch_size);
  const Variable out = answers(items.inputs);
  const Variable loss =
      adding_ != nullptr ? nn::mean_squared_error(out, Variable(items.targets)) : nn::cross_entropy(out, items.targets);
  const double value = loss.value().item<float>();
  if (!std::isfinite(value)) throw Error(cat("step ", step_, ": the loss is ", value, kAdvice));
  arena_->zero_grad();
  backward(loss);
  optimizer_->set_rate(options_.schedule.at(step_));
  optimizer_->step(options_.clip_norm > 0 ? nn::clip_global_norm(*arena_, options_.clip_norm).scale : Tensor());
  ++step_;
  return value;
}

Index Learner::wrong(const Items& items) const {
  const Tensor out = answers(items.inputs).value();
  const Index count = items.targets.dim(0);
  if (order_ != nullptr) return count - kernels::count_correct(out, items.targets).item<std::int32_t>();
  Index wrong = 0;
  for (Index i = 0; i < count; ++i) {
    const double distance = std::abs(out.data<float>()[i] - items.targets.data<float>()[i]);
    if (!(distance < kRight)) ++wrong;
  }
  return wrong;
}

double Learner::error(Set set, Index count) const {
  const NoGrad no_grad;
  Index all = 0;
  for (Index first = 0; first < count; first += options_.batch_size)
    all += wrong(options_.source.items(set, first, std::min(options_.batch_size, count - first)));
  return count == 0 ? 0 : static_cast<double>(all) / static_cast<double>(count);
}

}  // namespace subquad::adding_problem
