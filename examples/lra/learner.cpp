#include "subquad/examples/lra/learner.h"

#include <cmath>

#include "subquad/nn/losses.h"
#include "subquad/nn/optim/clip.h"

namespace subquad::lra {

namespace {

nn::SequenceClassifierConfig for_task(nn::SequenceClassifierConfig model, Index vocabulary, Index classes) {
  model.vocabulary = vocabulary;
  model.classes = classes;
  return model;
}

kernels::AdamWOptions adamw_options(const nn::OptimizerConfig& config) {
  return {.beta1 = config.beta1,
          .beta2 = config.beta2,
          .epsilon = config.epsilon,
          .weight_decay = config.weight_decay,
          .decoupled = true};
}

const std::string kModel = "model.";
const std::string kOptimizer = "optimizer.";

void add_with_prefix(nn::StateDict& into, const std::string& prefix, const nn::StateDict& from) {
  for (const auto& [name, value] : from) into.emplace(prefix + name, value);
}

nn::StateDict with_prefix(const nn::StateDict& from, const std::string& prefix) {
  nn::StateDict part;
  for (const auto& [name, value] : from)
    if (name.starts_with(prefix)) part.emplace(name.substr(prefix.size()), value);
  return part;
}

}  // namespace

Learner::Learner(const TrainOptions& options, Index vocabulary, Index classes)
    : model_(nn::Place(options.seed, kFloat32, parse_device(options.device)),
             for_task(options.model, vocabulary, classes)),
      arena_(model_),
      optimizer_(arena_, adamw_options(options.optimizer)),
      schedule_(options.schedule),
      clip_norm_(options.clip_norm) {
  rng_.seed = options.seed;
  rng_.step = zeros({1}, kInt64, model_.device());
}

StepResult Learner::train(const Batch& batch, Index step) {
  model_.train();
  arena_.zero_grad();
  fill(rng_.step, static_cast<double>(step));
  rng_.samples = batch.samples;

  const Variable logits = model_(batch.ids, batch.mask, rng_);  // [B, C]
  const Variable loss = nn::cross_entropy(logits, batch.labels);
  backward(loss);
  // Without a limit the norm is still wanted for the record; nothing is scaled then.
  const nn::ClippedNorm clipped = nn::clip_global_norm(arena_, clip_norm_ > 0 ? clip_norm_ : 1);

  const double mean_loss = loss.value().item<float>();
  const double norm = clipped.norm.item<double>();
  if (!std::isfinite(mean_loss) || !std::isfinite(norm))
    throw Error(cat("training step ", step, ": loss ", mean_loss, " and gradient norm ", norm,
                    " must be finite; a lower --learning-rate or --clip-norm may help"));
  const double rate = rate_of(step);
  optimizer_.set_rate(rate);
  optimizer_.step(clip_norm_ > 0 ? clipped.scale : Tensor());
  return {tally(mean_loss, predictions(logits.value()), batch), rate, norm};
}

double Learner::rate_of(Index step) {
  if (schedule_.kind == nn::ScheduleKind::one_cycle) optimizer_.set_beta1(nn::one_cycle_beta1(schedule_, step));
  return schedule_.at(step);
}

Learner::Prediction Learner::predict(const Batch& batch) {
  const NoGrad no_grad;
  model_.eval();
  const Variable logits = model_(batch.ids, batch.mask, RandomState());
  const double loss = nn::cross_entropy(logits, batch.labels).value().item<float>();
  std::vector<std::int64_t> predicted = predictions(logits.value());
  const Tally result = tally(loss, predicted, batch);
  return {result, std::move(predicted)};
}

nn::StateDict Learner::state_dict() const {
  nn::StateDict state;
  add_with_prefix(state, kModel, model_.state_dict());
  add_with_prefix(state, kOptimizer, optimizer_.state_dict());
  return state;
}

void Learner::load_state_dict(const nn::StateDict& state) {
  load_model(state);
  optimizer_.load_state_dict(with_prefix(state, kOptimizer));
}

void Learner::load_model(const nn::StateDict& state) {
  model_.load_state_dict(with_prefix(state, kModel));
}

}  // namespace subquad::lra
