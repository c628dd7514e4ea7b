#include "subquad/examples/lra/learner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/allocator.h"
#include "subquad/core/profile.h"
#include "subquad/kernels/count_correct/count_correct.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/top_k/top_k.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/optim/clip.h"

namespace subquad::lra {

namespace {

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

Tensor float64_number(const Tensor& x) {  // [1]
  return x.to(kFloat64).reshape({1});
}

// 0 when x is finite and a NaN otherwise, as float64 [1].
Tensor zero_if_finite(const Tensor& x) {
  return kernels::mul_scalar(float64_number(x), 0);
}

Index samples_of(std::span<const Batch> micro_batches) {
  Index samples = 0;
  for (const Batch& batch : micro_batches) samples += batch.size();
  return samples;
}

const char* const kAdvice = "; a lower --learning-rate or --clip-norm may help";

// What `f` returns. FSAT's choice refuses what a diverged model gives it: then an Error that says `where`, with advice.
template <class F>
auto advised(const std::string& where, const F& f) {
  try {
    return f();
  } catch (const kernels::NanError& error) {
    throw Error(cat(where, ": ", error.what(), kAdvice));
  }
}

}  // namespace

struct Learner::Recording {
  Batch inputs;  // fixed addresses
  Graph graph;   // undefined until the shape comes for the second time
  Tensor numbers;
};

Learner::Learner(const TrainOptions& options, const TaskShape& task)
    : model_(make_model(nn::Place(options.seed, kFloat32, parse_device(options.device)), options.model, task)),
      arena_(*model_),
      optimizer_(arena_, adamw_options(options.optimizer)),
      schedule_(options.schedule),
      clip_norm_(options.clip_norm),
      precision_(options.precision),
      record_(options.cuda_graph),
      upload_(model_->device()) {
  rng_.seed = options.seed;
  rng_.step = zeros({1}, kInt64, model_->device());
}

Learner::~Learner() = default;

void Learner::train(std::span<const Batch> micro_batches, Index step) {
  const double rate = prepare(step);
  const Tensor numbers = advised(cat("training step ", step),
                                 [&] { return record_ ? replayed(micro_batches.front()) : compute(micro_batches); });
  started_.push_back({step, samples_of(micro_batches), rate, Readback(numbers)});
}

double Learner::prepare(Index step) {
  const double rate = schedule_.at(step);
  if (schedule_.kind == nn::ScheduleKind::one_cycle) optimizer_.set_beta1(nn::one_cycle_beta1(schedule_, step));
  optimizer_.set_rate(rate);
  fill(rng_.step, static_cast<double>(step));
  return rate;
}

// Nothing in here waits for the device or depends on a number of the host, so that it can be recorded.
Tensor Learner::compute(std::span<const Batch> micro_batches) {
  const PrecisionGuard guard(precision_);
  model_->train();
  arena_.zero_grad();
  // The loss is the sum over all samples, divided once: micro-batches may have different sizes.
  const auto samples = static_cast<double>(std::max<Index>(samples_of(micro_batches), 1));
  const Tensor upstream = full({}, 1 / samples, kFloat32, model_->device());
  Tensor loss = zeros({1}, kFloat64, model_->device()), correct = loss;
  for (const Batch& micro_batch : micro_batches) {
    const Batch batch = micro_batch.to(model_->device());
    rng_.samples = batch.samples;
    const Variable logits = (*model_)(batch.ids, batch.mask, rng_);  // [B, C]
    const Variable losses = sum(cross_entropy_each(logits, batch.labels));
    backward(losses, upstream);
    loss = kernels::add(loss, float64_number(losses.value()));
    correct = kernels::add(correct, float64_number(kernels::count_correct(logits.value(), batch.labels)));
  }
  const ProfilePhase phase("update");
  // Without a limit the norm is still wanted for the record; nothing is scaled then.
  const nn::ClippedNorm clipped = nn::clip_global_norm(arena_, clip_norm_ > 0 ? clip_norm_ : 1);
  const Tensor scale = clip_norm_ > 0 ? clipped.scale : full({1}, 1, kFloat64, model_->device());
  // The optimiser leaves everything as it is where the scale is a NaN.
  const Tensor sound = kernels::add(zero_if_finite(clipped.norm), zero_if_finite(loss));
  optimizer_.step(kernels::add(scale, sound));

  Tensor numbers = empty({3}, kFloat64, model_->device());
  const Tensor found[] = {loss, clipped.norm, correct};
  for (Index i = 0; i < 3; ++i) {
    Tensor place = numbers.slice(0, i, i + 1);
    copy(found[i], place);
  }
  return numbers;
}

Tensor Learner::replayed(const Batch& batch) {
  std::unique_ptr<Recording>& recording = recordings_[{batch.size(), batch.ids.dim(1)}];
  if (!recording) {
    recording = std::make_unique<Recording>();
    recording->inputs = batch.to(model_->device());
    return compute({&recording->inputs, 1});
  }
  std::vector<Tensor> inputs = tensors_of(recording->inputs);
  upload_.start(tensors_of(batch));  // travels while the step before is still computed
  upload_.finish(inputs);
  if (!recording->graph.defined()) {
    release_cached_memory(model_->device());  // what eager steps left behind, which a recording could not give back
    recording->graph = Graph::capture(
        model_->device(),
        [&] {
          recording->numbers = compute({&recording->inputs, 1});
        },
        first_graph_);
    if (!first_graph_.defined()) first_graph_ = recording->graph;
  }
  recording->graph.replay();
  return recording->numbers;
}

std::vector<StepResult> Learner::finish() {
  std::vector<StepResult> results;
  for (const Started& started : std::exchange(started_, {})) {
    const std::span<const double> numbers = started.numbers.value().span<double>();
    const Tally tally = {numbers[0], static_cast<Index>(numbers[2]), started.samples};
    const double norm = numbers[1];
    if (!std::isfinite(tally.loss) || !std::isfinite(norm))
      throw Error(cat("training step ", started.step, ": loss ", tally.mean_loss(), " and gradient norm ", norm,
                      " must be finite", kAdvice));
    results.push_back({started.step, tally, started.rate, norm});
  }
  return results;
}

Learner::Prediction Learner::predict(const Batch& batch) {
  const NoGrad no_grad;
  const PrecisionGuard guard(precision_);
  model_->eval();
  const Batch there = batch.to(model_->device());
  const Variable logits = advised("evaluation", [&] { return (*model_)(there.ids, there.mask, RandomState()); });
  const double loss = nn::cross_entropy(logits, there.labels).value().to(kCpu).item<float>();
  const Tensor found = logits.value().to(kCpu);
  std::vector<std::int64_t> predicted = predictions(found);
  const Tally result = tally(loss, predicted, batch);
  return {result, std::move(predicted), found};
}

nn::StateDict Learner::state_dict() const {
  nn::StateDict state;
  add_with_prefix(state, kModel, model_->state_dict());
  add_with_prefix(state, kOptimizer, optimizer_.state_dict());
  return state;
}

void Learner::load_state_dict(const nn::StateDict& state) {
  load_model(state);
  optimizer_.load_state_dict(with_prefix(state, kOptimizer));
}

void Learner::load_model(const nn::StateDict& state) {
  model_->load_state_dict(with_prefix(state, kModel));
}

}  // namespace subquad::lra
