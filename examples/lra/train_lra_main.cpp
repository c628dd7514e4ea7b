// Trains a model on a task of Long Range Arena; `train_lra --help` lists what it can be told.
//
// Ends with 0 when all is done or the time limit was reached, 1 on an error, 2 on a wrong option, 130 after Ctrl-C and
// 143 after SIGTERM; whenever it was stopped, `train_lra --resume RUN` goes on.
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "subquad/core/file.h"
#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"
#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/check_data.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/report.h"
#include "subquad/kernels/blas/blas.h"

namespace subquad::lra {

namespace {

// Before a run folder is made.
void check_lengths(const TrainOptions& options, const Task& task) {
  const bool padded = options.batches.pad_to > 0;
  const Index limit = padded ? options.batches.pad_to : options.batches.max_length;
  if (task.longest() > limit)
    throw Error(cat(padded ? "--pad-to " : "--max-length ", limit, ": the data has sequences of up to ", task.longest(),
                    " tokens"));
}

RunFolder open_run(const TrainOptions& options) {
  if (!options.resume.empty()) return RunFolder::open(options.resume, "--resume ");
  RunFolder folder = RunFolder::create(options.out);
  AtomicFile config(folder.config());
  config.write(options.config_with_help);
  config.commit();
  return folder;
}

// Says that batches which are no longer than nystrom's landmarks run its exact branch; nothing where none can be.
std::string nystrom_note(const TrainOptions& options, const Task& task) {
  const nn::AttentionConfig& attention = options.model.encoder.attention;
  const Index landmarks = attention.nystrom.landmarks, pad_to = options.batches.pad_to;
  if (attention.kind != "nystrom" || !attention.nystrom.exact_when_covered) return {};
  if (pad_to > landmarks) return {};
  Index shortest = pad_to;
  if (pad_to == 0) {
    shortest = task.longest();
    for (const Sequences* set : {&task.train, &task.validation, &task.test})
      for (Index i = 0; i < set->size(); ++i) shortest = std::min(shortest, set->length(i));
    const Index multiple = options.batches.pad_multiple;
    shortest =
        std::min(options.batches.max_length, (std::max<Index>(shortest, 1) + multiple - 1) / multiple * multiple);
  }
  if (shortest > landmarks) return {};
  return cat("nystrom: batches of up to ", landmarks, " positions, padded, run softmax attention: --landmarks ",
             landmarks, " cover them");
}

void print_start(const TrainOptions& options, const Task& task, const Trainer& trainer, ProgressLine& progress) {
  progress.print(options.config);
  progress.print(cat(task.name, ": ", task.train.size(), " training, ", task.validation.size(), " validation and ",
                     task.test.size(), " test sequences of up to ", task.longest(), " tokens, hash ", task.hash()));
  for (const std::string& note : task.notes) progress.print("note: " + note);
  if (const std::string note = nystrom_note(options, task); !note.empty()) progress.print("note: " + note);
  const Device device = parse_device(options.device);
  const std::string where =
      device.is_cpu() ? cat(num_threads(), " threads, SIMD ", simd_target(), ", BLAS ", kernels::blas_core_name())
                      : cat(device, " ", device_name(device), ", ", options.precision,
                            options.cuda_graph ? ", steps as graphs" : "");
  progress.print(cat(trainer.parameter_count(), " parameters; ", where));
  progress.print(
      cat("run folder ", options.out, trainer.step() > 0 ? cat(", resumed at step ", trainer.step()) : std::string()));
}

int stopped(const TrainOptions& options, const Trainer& trainer, const StopRequest& stop, ProgressLine& progress) {
  progress.print(cat("stopped at step ", trainer.step(), " of ", options.steps,
                     ", saved; go on with: train_lra --resume ", options.out));
  return stop ? 128 + stop.signal() : 0;  // what shells report for a process that a signal has ended
}

int train_lra(const std::vector<std::string>& args) {
  TrainOptions options;
  if (!parse_train_options(args, options)) return 0;
  if (options.check_data) {
    check_data(options.data, std::cout);
    return 0;
  }
  check_attention_device(options.model.encoder.attention, parse_device(options.device));
  if (options.resume.empty()) RunFolder::check_new(options.out);
  set_up_processor(options.threads);
  const Task task = load_task(options.data);
  check_lengths(options, task);

  Learner learner(options, task.shape);  // refuses a wrong configuration before there is a folder

  const RunFolder folder = open_run(options);
  const RunLock lock(folder);
  ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, options.progress_seconds);
  const StopRequest stop;
  Trainer trainer(options, task, learner, folder, progress, stop);
  print_start(options, task, trainer, progress);
  if (!trainer.train()) return stopped(options, trainer, stop, progress);
  const auto results = trainer.test();
  if (!results) return stopped(options, trainer, stop, progress);
  print_report(options, task, trainer, *results, std::cout);
  return 0;
}

}  // namespace

}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("train_lra", argc, argv, subquad::lra::train_lra);
}
