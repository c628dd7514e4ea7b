// What train_lra can be told: on the command line, in a preset, and on resume in the run's own config.toml. Names and
// meaning of each are in train_options.cpp and in --help.
#pragma once

#include <string>
#include <vector>

#include "subquad/core/precision.h"
#include "subquad/examples/lra/batches.h"
#include "subquad/examples/lra/model.h"
#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/tasks/task.h"
#include "subquad/nn/optim/optimizer.h"
#include "subquad/nn/schedule.h"

namespace CLI {
class App;
}

namespace subquad::lra {

struct TrainOptions {
  TaskSource data;
  std::string out;
  bool check_data = false;  // and nothing else; no `out` then
  std::string resume;       // "" or the folder of the run to go on with; then equal to out

  std::uint64_t seed = 1;
  std::vector<std::uint64_t> seeds;  // of several runs, in folders below `out`; empty: one run, with `seed`
  std::string device = "cpu";
  Precision precision = Precision::fp32;
  bool cuda_graph = false;
  int threads = 0;  // 0: as many as there are processors

  ModelOptions model;
  nn::OptimizerConfig optimizer;
  nn::Schedule schedule;  // its total is `steps`
  double clip_norm = 1;   // 0: gradients are not clipped
  Index steps = 5000;
  BatchOptions batches;

  Index log_every = 10;
  Index evaluate_every = 500;
  Index checkpoint_every = 500;
  Index keep = 2;          // newest checkpoints, beside the best
  Index patience = 0;      // validations in a row that find no better accuracy and end the run; 0: none do
  double max_minutes = 0;  // 0: no limit
  double progress_seconds = 5;
  Index profile = 0;  // steps that are profiled

  std::string config;            // the resolved configuration as TOML, as far as task and model read it
  std::string config_with_help;  // all of it, with comments
};

// False when --help was asked for and has been printed. OptionError for whatever is wrong with the options alone; the
// data and the folders have not been looked at yet, but for the config.toml of a resumed run.
bool parse_train_options(const std::vector<std::string>& args, TrainOptions& options);

// For programs that look at a model which nobody has trained: the options that say its task, itself and its attention,
// --seed, and --preset, whose training options are read and left. What such a program has options of its own for
// (--out, --device, --threads) is not among them. After parsing settle_fresh_model gives the defaults that depend on
// others, and checks: OptionError.
void add_fresh_model_options(CLI::App& app, TrainOptions& options);
void settle_fresh_model(CLI::App& app, TrainOptions& options);

// What a program that only uses a run's model may choose; empty, or 0: as in the run's config.toml.
struct RunUse {
  std::string data;    // folder
  std::string device;  // on the CPU the precision is fp32, whatever the run's
  int threads = 0;
};

// The options that a run was started with, changed by `use`. OptionError as above.
TrainOptions read_run_options(const RunFolder& run, const RunUse& use);

}  // namespace subquad::lra
