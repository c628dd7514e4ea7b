// Trains a model on a task of Long Range Arena; `train_lra --help` lists what it can be told.
//
// Ends with 0 when all is done or the time limit was reached, 1 on an error, 2 on a wrong option, 130 after Ctrl-C and
// 143 after SIGTERM; whenever it was stopped, `train_lra --resume RUN` goes on.
#include <unistd.h>

#include <iostream>

#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/check_data.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/seed_runs.h"

namespace subquad::lra {

namespace {

// Before a run folder is made.
void check_lengths(const TrainOptions& options, const Task& task) {
  const bool padded = options.batches.pad_to > 0;
  const Index limit = padded ? options.batches.pad_to : options.batches.max_length;
  if (task.longest() > limit)
    throw Error(cat(padded ? "--pad-to " : "--max-length ", limit, ": the data has sequences of up to ", task.longest(),
                    " tokens",
                    task_kind(options.data.task).texts ? cat("; --cut ", limit, " reads no more of each") : ""));
}

bool one_run(const TrainOptions& options, const Task& task, ProgressLine& progress, const StopRequest& stop) {
  const RunEnd end = single_run(options, task, progress, stop);
  if (!end.complete)
    progress.print(cat("stopped at step ", end.step, " of ", options.steps, ", saved; go on with: train_lra --resume ",
                       options.out));
  return end.complete;
}

int train_lra(const std::vector<std::string>& args) {
  TrainOptions options;
  if (!parse_train_options(args, options)) return 0;
  if (options.check_data) {
    check_data(options.data, options.model.encoder.max_length, std::cout);
    return 0;
  }
  parse_device(options.device);  // what the build or the machine lacks is said first
  if (options.resume.empty()) RunFolder::check_new(options.out);
  set_up_processor(options.threads);
  const Task task = load_task(options.data);
  check_lengths(options, task);

  ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, options.progress_seconds);
  const StopRequest stop;
  const bool complete =
      options.seeds.empty() ? one_run(options, task, progress, stop) : seed_runs(options, task, progress, stop);
  return !complete && stop ? 128 + stop.signal() : 0;  // what shells report for a process that a signal has ended
}

}  // namespace

}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("train_lra", argc, argv, subquad::lra::train_lra);
}
