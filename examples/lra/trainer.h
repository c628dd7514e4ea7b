// The training loop of one run: steps, records, validations, checkpoints, and in the end the test. A loop that is
// stopped between two steps and begun again from its checkpoint computes and records the same bits as one that was not.
#pragma once

#include <chrono>
#include <optional>

#include "subquad/examples/lra/batch_queue.h"
#include "subquad/examples/lra/checkpoint.h"
#include "subquad/examples/lra/profile/step_profile.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/report/event_log.h"
#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/stop_request.h"

namespace subquad::lra {

struct TestResult {
  std::string checkpoint;  // "best", "last" or "best and last"
  Index step = 0;
  double validation = 0;  // accuracies
  double test = 0;
  std::map<Token, Tally> by_first_token;
};

inline double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

// Of this process, not of the whole run, where it was resumed.
struct Cost {
  double training_seconds = 0;
  double waiting_seconds = 0;  // of them, for batches
  double evaluation_seconds = 0;
  double evaluation_waiting_seconds = 0;
  Index steps = 0;
  Index tokens = 0;                      // real ones trained on
  std::uint64_t system_allocations = 0;  // by training steps in the second half of `steps`
  std::uint64_t process_bytes = 0;       // the largest resident size this process has had

  double waiting_share() const { return share(waiting_seconds, training_seconds); }
  double evaluation_waiting_share() const { return share(evaluation_waiting_seconds, evaluation_seconds); }
  double tokens_per_second() const { return training_seconds > 0 ? static_cast<double>(tokens) / training_seconds : 0; }
};

class Trainer {
 public:
  // Starts at step 0; a resumed run at the newest checkpoint of the folder, if it has one.
  Trainer(const TrainOptions& options, const Task& task, Learner& learner, const RunFolder& folder,
          ProgressLine& progress, const StopRequest& stop);

  // False when it was stopped, by signal or time limit, before its end: the last step, or the validation at which its
  // patience ran out. All is saved then.
  bool train();

  // The best and the last parameters, each once over the whole test set. nullopt when stopped by a signal; what
  // training left is saved already.
  std::optional<std::vector<TestResult>> test();

  Index step() const { return state_.step; }
  // "ended early at step 300 of 5000: ..." when patience ran out, else "".
  std::string early_end() const;
  Index parameter_count() const { return learner_.parameter_count(); }
  Cost cost() const;

 private:
  using Clock = std::chrono::steady_clock;

  bool run_steps();
  bool due(Index every) const;
  bool out_of_patience() const;
  bool ended() const;
  bool must_stop() const;
  double session_seconds() const;
  void train_one_step(BatchQueue& batches);
  void report_profile();
  void collect();  // waits for the steps under way; their results go to state_
  void record_training();
  bool validate();
  void save();
  std::optional<Evaluation> evaluate(const Sequences& set, const char* what);
  std::optional<TestResult> test_parameters(const char* checkpoint, Index step, double validation);
  void show_progress();

  const TrainOptions& options_;
  const Task& task_;
  Learner& learner_;
  const RunFolder& folder_;
  ProgressLine& progress_;
  const StopRequest& stop_;
  Device device_;
  RunIdentity identity_;
  RunState state_;
  std::optional<RunState> saved_;  // what the newest checkpoint holds
  std::optional<EventLog> events_;
  std::optional<RecordLog> metrics_;
  std::optional<RecordLog> timing_;

  Tally recent_;     // of the last training record
  StepResult last_;  // of the last step that was collected

  Clock::time_point session_start_ = Clock::now();
  Index session_first_step_ = 0;
  Cost cost_;
  std::optional<StepProfiler> profiler_;           // until it has reported
  std::vector<std::uint64_t> system_allocations_;  // of each training step of this session
};

}  // namespace subquad::lra
