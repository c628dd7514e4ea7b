// What inspect_attention is asked to look at: a trained run or a fresh model, and an input.
#pragma once

#include <memory>

#include "subquad/examples/inspect/position_names.h"
#include "subquad/examples/lra/input_arguments.h"
#include "subquad/examples/lra/learner.h"
#include "subquad/examples/lra/predict.h"
#include "subquad/examples/lra/saved_model.h"

namespace subquad::inspect {

struct InspectOptions {
  lra::SavedModelOptions saved;  // run: "" for a fresh model
  lra::TrainOptions fresh;       // of a fresh model
  lra::InputArguments inputs;
  Index of_pair = 1;
  std::string out = "attention.html";
  std::string matrices;  // "" or the file that the exact matrices go to
  double megabytes = 15;
  double gigabytes = 0;  // of memory for the matrices; 0: three quarters of what is free
};

// False when --help was asked for and has been printed; OptionError.
bool parse_inspect_options(const std::vector<std::string>& args, InspectOptions& options);

// A model and one question for it.
struct Subject {
  lra::TrainOptions options;
  lra::RunStart start;
  std::unique_ptr<lra::Learner> learner;
  std::string origin;  // "run runs/first, checkpoint best, step 500", "fresh, seed 1: it has learnt nothing"
  std::string asked;   // what the input is: itself, as far as people typed it, or its file
  lra::Question question;
  Index part = 0;  // of a pair
  double gigabytes = 0;
  lra::Batch batch;

  const nn::AttentionConfig& attention() const { return options.model.encoder.attention; }
  bool mixes_padding() const { return !lra::padding_option(options.model).empty(); }
  Index own_tokens() const;  // that the model puts before the input's
};
Subject open_subject(const InspectOptions& options);

}  // namespace subquad::inspect
