// Scores a checkpoint of train_lra on one of its task's sets; `eval_lra --help` lists what it can be told.
//
// Ends with 0, with 1 on an error, 2 on a wrong option, 130 after Ctrl-C and 143 after SIGTERM.
#include <unistd.h>

#include <iostream>

#include "subquad/core/file.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/saved_model.h"
#include "subquad/examples/lra/score_report.h"
#include "subquad/examples/lra/scoring.h"
#include "subquad/examples/lra/stop_request.h"

namespace subquad::lra {

namespace {

struct EvalOptions {
  SavedModelOptions model;
  std::string split = "test";
  bool any_data = false;
  Index batch_size = 0;
  std::string json;
  std::string predictions;
};

bool parse(const std::vector<std::string>& args, EvalOptions& options) {
  CLI::App app("Scores a checkpoint of train_lra on one of its task's sets. The run's folder is only read.",
               "eval_lra");
  app.option_defaults()->always_capture_default();
  add_saved_model_options(app, options.model);
  app.add_option("--split", options.split, "test, validation or train")
      ->type_name("NAME")
      ->check(CLI::Validator(
          [](const std::string& text) {
            const bool known = text == "test" || text == "validation" || text == "train";
            return known ? std::string() : cat("'", text, "', expected test, validation or train");
          },
          ""));
  app.add_option("--data", options.model.use.data, "Folder with the task's files; empty: where the run found them")
      ->type_name("DIR");
  app.add_flag("--any-data", options.any_data, "Score on other data than the run's, too");
  add_whole(app, "--batch-size", options.batch_size, 0, kMostSamples, "Samples at a time; 0: as in the run");
  app.add_option("--json", options.json, "Write all numbers to this file")->type_name("FILE");
  app.add_option("--predictions", options.predictions, "Write a line a sample: number, label, prediction, probability")
      ->type_name("FILE");
  app.footer(
      "Example: eval_lra runs/first --split validation\n"
      "The score is bit for bit the one that train_lra printed, on the same machine with the same batch size.\n"
      "Exit status: 0 done; 1 error; 2 wrong option; 130 Ctrl-C; 143 SIGTERM.");
  return parse_options(app, args);
}

const Sequences& set_of(const Task& task, const std::string& split) {
  if (split == "train") return task.train;
  return split == "validation" ? task.validation : task.test;
}

// Opened before the work, so that a place that cannot be written is not found out after it.
std::optional<AtomicFile> open_output(const std::string& path) {
  if (path.empty()) return std::nullopt;
  return std::optional<AtomicFile>(std::in_place, path);
}

void write(std::optional<AtomicFile>& file, const std::string& text) {
  file->write(text);
  file->commit();
}

// "" or what is to be said of other data.
std::string compare_data(const EvalOptions& options, const TrainOptions& run, const Task& task,
                         const CheckpointOrigin& origin) {
  if (origin.data_hash == task.hash()) return "";
  const std::string both = cat("the data in ", run.data.folder, " (hash ", task.hash(),
                               ") are not those of the run (hash ", origin.data_hash, ")");
  if (!options.any_data)
    throw Error(cat(both, "; give the folder of its data with --data, or --any-data to score on these"));
  return both;
}

int eval_lra(const std::vector<std::string>& args) {
  EvalOptions options;
  if (!parse(args, options)) return 0;
  TrainOptions run = open_saved_model(options.model);
  if (options.batch_size > 0) {
    run.batches.size = options.batch_size;
    run.batches.accumulate = 1;  // not cut up any more
  }
  std::optional<AtomicFile> json = open_output(options.json), lines = open_output(options.predictions);

  const Task task = load_task(run.data);
  const Sequences& set = set_of(task, options.split);
  Learner learner(run, task.shape);
  const LoadedCheckpoint checkpoint = load_saved_model(options.model, learner);

  Score score;
  score.run = options.model.run;
  score.checkpoint = checkpoint.name;
  score.step = checkpoint.origin.step;
  score.split = options.split;
  score.model =
      cat(run.model.encoder.attention.kind, " attention, ", learner.parameter_count(), " parameters, seed ", run.seed);
  score.notes = task.notes;
  if (const std::string note = compare_data(options, run, task, checkpoint.origin); !note.empty())
    score.notes.push_back(note);
  if (set.longest() > longest_sequence(run.batches))
    throw Error(cat("the ", options.split, " set has sequences of up to ", set.longest(), " tokens, the model takes ",
                    longest_sequence(run.batches), " at most"));

  ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, run.progress_seconds);
  const StopRequest stop;
  std::optional<Evaluation> found = evaluate(learner, set, run.batches, [&](const Tally& so_far) {
    if (progress.due() && so_far.samples > 0) progress.show(cat(options.split, " ", so_far.samples, "/", set.size()));
    return !stop;
  });
  if (!found) return 128 + stop.signal();
  score.found = std::move(*found);
  if (lines) write(lines, prediction_lines(score.found, task, set));
  if (json) write(json, score_record(score, task, set).dump(2, ' ', false, Record::error_handler_t::replace) + '\n');
  print_score(score, task, set, std::cout);
  return 0;
}

}  // namespace

}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("eval_lra", argc, argv, subquad::lra::eval_lra);
}
