#include "subquad/examples/lra/trainer.h"

#include <sys/resource.h>

#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/parameter_rule.h"
#include "subquad/examples/lra/profile/table.h"
#include "subquad/examples/lra/profile/trace.h"
#include "subquad/examples/lra/report/answers.h"
#include "subquad/examples/lra/report/tables.h"
#include "subquad/examples/lra/scoring.h"

namespace subquad::lra {

namespace {

RunIdentity identity_of(const TrainOptions& options, const Task& task) {
  if (task.train.size() == 0) throw Error(cat("task ", task.name, ": the training set is empty"));
  RunIdentity identity;
  identity.seed = options.seed;
  identity.steps = options.steps;
  identity.data_hash = task.hash();
  identity.batches_per_epoch = (task.train.size() + options.batches.size - 1) / options.batches.size;
  return identity;
}

double seconds_between(std::chrono::steady_clock::time_point begin, std::chrono::steady_clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

std::uint64_t peak_process_bytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

Record start_record(const TrainOptions& options, const Task& task, const RunIdentity& identity, Index parameters) {
  return {{"kind", "start"},
          {"task", task.name},
          {"model", model_name(options.model.kind)},
          {"attention", options.model.encoder.attention.kind},
          {"precision", precision_name(options.precision)},
          {"seed", options.seed},
          {"parameters", parameters},
          {"base_parameters", parameter_rule(parameters, options.model, task.name, task.shape).base},
          {"train", task.train.size()},
          {"validation", task.validation.size()},
          {"test", task.test.size()},
          {"data_hash", identity.data_hash},
          {"vocabulary", task.shape.vocabulary},
          {"parts", task.shape.parts},
          {"class_names", task.class_names}};
}

Record session_record(Index step, Device device) {
  return {{"kind", "session"},
          {"step", step},
          {"device", device_name(device)},
          {"threads", num_threads()},
          {"simd", simd_target()}};
}

}  // namespace

Trainer::Trainer(const TrainOptions& options, const Task& task, Learner& learner, const RunFolder& folder,
                 ProgressLine& progress, const StopRequest& stop)
    : options_(options),
      task_(task),
      learner_(learner),
      folder_(folder),
      progress_(progress),
      stop_(stop),
      device_(parse_device(options.device)),
      identity_(identity_of(options, task)) {
  if (const auto newest = options.resume.empty() ? std::nullopt : folder.newest_checkpoint()) {
    state_ = load_checkpoint(*newest, learner_, identity_);
    saved_ = state_;
  }
  if (options.profile > 0) profiler_.emplace(device_, options.profile);
  session_first_step_ = state_.step;
  metrics_.emplace(folder.metrics(), state_.metrics_bytes);
  timing_.emplace(folder.timing());
  events_.emplace(folder, state_.step);
  for (RecordLog* log : {&*metrics_, &*timing_}) log->observe([this](const Record& record) { events_->write(record); });
  timing_->write(session_record(state_.step, device_));
  if (metrics_->bytes() == 0) metrics_->write(start_record(options, task, identity_, learner_.parameter_count()));
}

bool Trainer::train() {
  const bool complete = run_steps();
  report_profile();
  return complete;
}

bool Trainer::run_steps() {
  BatchQueue batches(StepBatches(task_.train, options_.batches, options_.seed, state_.step, options_.steps));
  while (true) {
    if (due(options_.evaluate_every) && state_.evaluated < state_.step && !validate()) {
      save();
      return false;
    }
    if (due(options_.checkpoint_every)) save();
    if (ended()) return true;
    if (must_stop()) {
      save();
      return false;
    }
    train_one_step(batches);
  }
}

// Every so many steps, and at the end.
bool Trainer::due(Index every) const {
  return state_.step > 0 && (state_.step % every == 0 || ended());
}

bool Trainer::out_of_patience() const {
  return options_.patience > 0 && state_.stale >= options_.patience;
}

bool Trainer::ended() const {
  return state_.step == options_.steps || out_of_patience();
}

std::string Trainer::early_end() const {
  if (!out_of_patience() || state_.step == options_.steps) return {};
  return cat("ended early at step ", state_.step, " of ", options_.steps, ": ", state_.stale,
             " validations in a row found no better accuracy than that at step ", state_.best_step);
}

bool Trainer::must_stop() const {
  return stop_ || (options_.max_minutes > 0 && session_seconds() > 60 * options_.max_minutes);
}

double Trainer::session_seconds() const {
  return seconds_between(session_start_, Clock::now());
}

void Trainer::train_one_step(BatchQueue& batches) {
  const Clock::time_point begin = Clock::now();
  const std::uint64_t allocations_before = memory_stats(device_).system_allocations;
  if (profiler_) profiler_->begin_step(state_.step);
  const MicroBatches micro_batches = batches.next().value();
  if (profiler_) profiler_->batch_is_there();
  learner_.train(micro_batches, state_.step);
  ++state_.step;
  // Every hundredth step too, so that a loss that is not finite does not stay unseen where records are rare.
  const bool progress_due = progress_.due();
  const bool record_due = due(options_.log_every) || (options_.patience > 0 && due(options_.evaluate_every));
  if (record_due || progress_due || state_.step % 100 == 0) collect();
  if (profiler_) profiler_->end_step();
  cost_.training_seconds += seconds_between(begin, Clock::now());
  cost_.waiting_seconds = batches.waited_seconds();
  for (const Batch& batch : micro_batches) cost_.tokens += batch.tokens;
  ++cost_.steps;
  system_allocations_.push_back(memory_stats(device_).system_allocations - allocations_before);
  // A validation may be the end; no step is left unrecorded then.
  if (record_due) record_training();
  if (progress_due) show_progress();
  if (profiler_ && profiler_->full()) report_profile();
}

// Once, when its steps are done or there are no more.
void Trainer::report_profile() {
  if (!profiler_) return;
  const std::optional<StepProfile> profile = profiler_->take();
  profiler_.reset();
  if (!profile)
    return progress_.print(cat("profile: no step came after the first ", StepProfiler::kWarmUp, ", which warm up"));
  const Roofs roofs = measure_roofs(device_, options_.precision);
  write_trace(*profile, roofs, folder_.trace());
  progress_.print(profile_table(*profile, roofs));
  progress_.print(cat("trace, for chrome://tracing or ui.perfetto.dev: ", folder_.trace().string()));
}

void Trainer::collect() {
  for (const StepResult& result : learner_.finish()) {
    state_.window += result.tally;
    last_ = result;
  }
}

void Trainer::record_training() {
  metrics_->write({{"kind", "train"},
                   {"step", state_.step},
                   {"epoch", (state_.step - 1) / identity_.batches_per_epoch},
                   {"loss", state_.window.mean_loss()},
                   {"accuracy", state_.window.accuracy()},
                   {"rate", last_.rate},
                   {"gradient_norm", last_.gradient_norm}});
  timing_->write({{"kind", "speed"},
                  {"step", state_.step},
                  {"seconds", session_seconds()},
                  {"tokens_per_second", cost_.tokens_per_second()},
                  {"waiting_share", cost_.waiting_share()},
                  {"peak_bytes", memory_stats(device_).peak_bytes},
                  {"process_bytes", peak_process_bytes()}});
  recent_ = state_.window;
  state_.window = Tally();
}

void Trainer::show_progress() {
  const Tally& shown = recent_.samples > 0 ? recent_ : state_.window;
  const double seconds_per_step = session_seconds() / static_cast<double>(state_.step - session_first_step_);
  progress_.show(progress_text({.step = state_.step,
                                .steps = options_.steps,
                                .loss = shown.mean_loss(),
                                .accuracy = shown.accuracy(),
                                .tokens_per_second = cost_.tokens_per_second(),
                                .seconds_left = seconds_per_step * static_cast<double>(options_.steps - state_.step)}));
}

// False when a signal came before it was through; nothing is recorded then.
bool Trainer::validate() {
  collect();
  const std::optional<Evaluation> found = evaluate(task_.validation, "validation");
  if (!found) return false;
  if (!std::isfinite(found->tally.mean_loss()))
    throw Error(cat("validation at step ", state_.step, ": loss ", found->tally.mean_loss(),
                    " must be finite; a lower --learning-rate or --clip-norm may help"));
  state_.evaluated = state_.step;
  state_.accuracy = found->tally.accuracy();
  metrics_->write({{"kind", "validation"},
                   {"step", state_.step},
                   {"loss", found->tally.mean_loss()},
                   {"accuracy", state_.accuracy}});
  const bool best = state_.best_step == 0 || state_.accuracy > state_.best_accuracy;
  if (best) {
    state_.best_step = state_.step;
    state_.best_accuracy = state_.accuracy;
    state_.stale = 0;
    state_.metrics_bytes = metrics_->bytes();
    save_checkpoint(folder_.best(), learner_, state_, identity_);
  } else {
    ++state_.stale;
  }
  std::ostringstream line;
  line << std::fixed << std::setprecision(4) << "step " << state_.step << "   validation loss "
       << found->tally.mean_loss() << "   accuracy " << state_.accuracy << (best ? "   best so far" : "");
  if (options_.patience > 0 && !best)
    line << "   " << state_.stale << " of " << options_.patience << " without a better one";
  progress_.print(line.str());
  if (const std::string early = early_end(); !early.empty()) {
    metrics_->write({{"kind", "early_stop"},
                     {"step", state_.step},
                     {"patience", options_.patience},
                     {"best_step", state_.best_step}});
    progress_.print(early);
  }
  return true;
}

// What the newest checkpoint holds already is not saved twice.
void Trainer::save() {
  collect();
  metrics_->sync();
  write_tables(folder_);
  state_.metrics_bytes = metrics_->bytes();
  if (saved_ == state_) return;
  save_checkpoint(folder_.checkpoint(state_.step), learner_, state_, identity_);
  saved_ = state_;
  folder_.tidy(static_cast<std::size_t>(options_.keep));
}

std::optional<Evaluation> Trainer::evaluate(const Sequences& set, const char* what) {
  const auto found = lra::evaluate(learner_, set, options_.batches, [&](const Tally& so_far) {
    if (progress_.due() && so_far.samples > 0)
      progress_.show(cat("step ", state_.step, "   ", what, " ", so_far.samples, "/", set.size()));
    return !stop_;
  });
  if (!found) return std::nullopt;
  cost_.evaluation_seconds += found->seconds;
  cost_.evaluation_waiting_seconds += found->waiting_seconds;
  timing_->write({{"kind", "evaluation"},
                  {"step", state_.step},
                  {"set", what},
                  {"seconds", found->seconds},
                  {"waiting_share", share(found->waiting_seconds, found->seconds)}});
  return found;
}

std::optional<std::vector<TestResult>> Trainer::test() {
  for (const Baseline& b : baselines(task_))
    metrics_->write({{"kind", "baseline"}, {"name", b.name}, {"validation", b.validation}, {"test", b.test}});
  std::vector<TestResult> results;
  const bool same = state_.best_step == state_.step;
  const auto last = test_parameters(same && state_.step > 0 ? "best and last" : "last", state_.step, state_.accuracy);
  if (!last) return std::nullopt;
  results.push_back(*last);
  if (same) return results;
  load_checkpoint_model(folder_.best(), learner_);
  const auto best = test_parameters("best", state_.best_step, state_.best_accuracy);
  if (!best) return std::nullopt;
  results.insert(results.begin(), *best);
  return results;
}

std::optional<TestResult> Trainer::test_parameters(const char* checkpoint, Index step, double validation) {
  const std::optional<Evaluation> found = evaluate(task_.test, "test");
  if (!found) return std::nullopt;
  TestResult result;
  result.checkpoint = checkpoint;
  result.step = step;
  result.validation = validation;
  result.test = found->tally.accuracy();
  result.by_first_token = tally_by_first_token(task_.test, found->predicted);
  metrics_->write({{"kind", "test"},
                   {"checkpoint", checkpoint},
                   {"step", step},
                   {"loss", found->tally.mean_loss()},
                   {"accuracy", result.test}});
  for (const Record& record : answer_records(task_, *found, checkpoint, step)) metrics_->write(record);
  return result;
}

Cost Trainer::cost() const {
  Cost cost = cost_;
  cost.process_bytes = peak_process_bytes();
  const auto half = static_cast<std::ptrdiff_t>(system_allocations_.size() / 2);
  cost.system_allocations =
      std::accumulate(system_allocations_.begin() + half, system_allocations_.end(), std::uint64_t{0});
  return cost;
}

}  // namespace subquad::lra
