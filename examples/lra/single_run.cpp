#include "subquad/examples/lra/single_run.h"

#include <algorithm>
#include <iostream>

#include "subquad/core/file.h"
#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"
#include "subquad/examples/lra/parameter_rule.h"
#include "subquad/examples/lra/report.h"
#include "subquad/examples/lra/report/page.h"
#include "subquad/kernels/blas/blas.h"

namespace subquad::lra {

namespace {

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
  const Device device = parse_device(options.device);
  const std::string where =
      device.is_cpu() ? cat(num_threads(), " threads, SIMD ", simd_target(), ", BLAS ", kernels::blas_core_name())
                      : cat(device, " ", device_name(device), ", ", options.precision,
                            options.cuda_graph ? ", steps as graphs" : "");
  progress.print(rule_text(parameter_rule(trainer.parameter_count(), options.model, task.name, task.shape)));
  progress.print("on " + where);
  progress.print(
      cat("run folder ", options.out, trainer.step() > 0 ? cat(", resumed at step ", trainer.step()) : std::string()));
}

}  // namespace

void introduce(const TrainOptions& options, const Task& task, ProgressLine& progress) {
  progress.print(options.config);
  progress.print(cat(task.name, ": ", task.train.size(), " training, ", task.validation.size(), " validation and ",
                     task.test.size(), " test sequences of up to ", task.longest(), " tokens, hash ", task.hash()));
  for (const std::string& note : task.notes) progress.print("note: " + note);
  if (const std::string note = nystrom_note(options, task); !note.empty()) progress.print("note: " + note);
}

RunEnd single_run(const TrainOptions& options, const Task& task, ProgressLine& progress, const StopRequest& stop,
                  bool introduced) {
  Learner learner(options, task.shape);  // refuses a wrong configuration before there is a folder
  const RunFolder folder = open_run(options);
  const RunLock lock(folder.path());
  Trainer trainer(options, task, learner, folder, progress, stop);
  if (!introduced) introduce(options, task, progress);
  print_start(options, task, trainer, progress);
  const bool trained = trainer.train();
  const auto results = trained ? trainer.test() : std::nullopt;
  if (results) print_report(options, task, trainer, *results, std::cout);
  write_report(options, task, trainer.parameter_count(), folder);
  progress.print(cat("to look at: ", (folder.path() / "report.html").string()));
  return {results.has_value(), trainer.step()};
}

}  // namespace subquad::lra
