#include "subquad/examples/lra/saved_model.h"

#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/program.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

// Where a run removes old checkpoints just now, the newest one may be gone when it is opened: then there is a newer
// one.
LoadedCheckpoint load_last(const RunFolder& run, Learner& learner) {
  for (std::optional<fs::path> newest = run.newest_checkpoint(); newest;) {
    try {
      return {"last", load_checkpoint_model(*newest, learner)};
    } catch (const Error&) {
      const std::optional<fs::path> now = run.newest_checkpoint();
      if (now == newest) throw;
      newest = now;
    }
  }
  throw Error(cat(run.path().string(), ": no checkpoint has been saved yet"));
}

LoadedCheckpoint load_best(const RunFolder& run, Learner& learner) {
  if (!fs::exists(run.best()))
    throw Error(cat(run.path().string(), ": there is no best checkpoint",
                    run.newest_checkpoint() ? ", for want of a validation; --checkpoint last takes the newest one"
                                            : " yet, nor any other"));
  return {"best", load_checkpoint_model(run.best(), learner)};
}

}  // namespace

void add_saved_model_options(CLI::App& app, SavedModelOptions& options) {
  app.add_option("run", options.run, "Folder of the run")->type_name("RUN")->check(not_empty());
  app.add_option("--checkpoint", options.checkpoint, "best (of validation), last, or a file")
      ->type_name("NAME")
      ->check(not_empty());
  app.add_option("--device", options.use.device, "cpu, cuda or cuda:1; empty: the run's")->type_name("NAME");
  app.add_option("--threads", options.use.threads, "0: as many as the run was started with")
      ->type_name("N")
      ->check(whole(0, 4096));
}

TrainOptions open_saved_model(const SavedModelOptions& options) {
  if (options.run.empty()) throw OptionError("expected the folder of a run");
  const TrainOptions run = read_run_options(RunFolder::open(options.run), options.use);
  try {
    parse_device(run.device);
  } catch (const DeviceError& error) {
    if (!options.use.device.empty()) throw;
    throw Error(cat(error.what(), "; that is where the run was trained, --device cpu uses its model here"));
  }
  set_up_processor(run.threads);
  return run;
}

LoadedCheckpoint load_saved_model(const SavedModelOptions& options, Learner& learner) {
  const RunFolder run = RunFolder::open(options.run);
  if (options.checkpoint == "best") return load_best(run, learner);
  if (options.checkpoint == "last") return load_last(run, learner);
  if (!fs::exists(options.checkpoint))
    throw Error(cat("--checkpoint ", options.checkpoint, ": there is no such file, expected best, last or a file"));
  return {options.checkpoint, load_checkpoint_model(options.checkpoint, learner)};
}

Index longest_sequence(const BatchOptions& options) {
  return options.pad_to > 0 ? options.pad_to : options.max_length;
}

}  // namespace subquad::lra
