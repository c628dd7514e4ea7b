// A run's model as programs use it that do not go on with the run. They only read its folder, and do not lock it: the
// run may be at work meanwhile.
#pragma once

#include <filesystem>
#include <string>

#include "subquad/examples/lra/checkpoint.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

struct SavedModelOptions {
  std::string run;
  std::string checkpoint = "best";  // best, last or a file
  RunUse use;
};

// RUN, --checkpoint, --device and --threads.
void add_saved_model_options(CLI::App& app, SavedModelOptions& options);

// Options of the run, checked against what this machine can do, with the processor set up. OptionError where no run is
// given; Error for a folder that is none.
TrainOptions open_saved_model(const SavedModelOptions& options);

struct LoadedCheckpoint {
  std::string name;  // "best", "last" or the file
  CheckpointOrigin origin;
};

// The parameters of the checkpoint that is asked for, also while another one takes its place. Error when there is none,
// which names the other choices.
LoadedCheckpoint load_saved_model(const SavedModelOptions& options, Learner& learner);

// Tokens that a sequence may have.
Index longest_sequence(const BatchOptions& options);

}  // namespace subquad::lra
