// The model of a run, made from what train_lra was told.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/examples/lra/tasks/task.h"
#include "subquad/nn/mixer.h"
#include "subquad/nn/two_tower.h"

namespace CLI {
class App;
}

namespace subquad::lra {

struct UnreadOption;  // options.h

enum class ModelKind { encoder, mixer };
ModelKind parse_model(std::string_view name);  // Error lists the legal names
std::string_view model_name(ModelKind kind);

struct ModelOptions {
  ModelKind kind = ModelKind::encoder;
  nn::SequenceClassifierConfig encoder = {.max_length = 2000};     // its members that a mixer has, too, are the mixer's
  nn::PairFeatures pair_features = nn::PairFeatures::interaction;  // what a pair's head sees
  bool mix_padding = false;
  nn::PaddingRow padding_row = nn::PaddingRow::trained;
  double embedding_bound = 0;
};

nn::TokenMixerConfig mixer_config(const ModelOptions& options);  // vocabulary and outputs are the task's

void add_model_options(CLI::App& app, ModelOptions& options);

// Defaults that depend on the task and the attention, after parsing and where nothing was given: max-length is
// `nominal`; paramixer stands in its paper's mixer and has one head.
void settle_model_options(CLI::App& app, ModelOptions& options, Index nominal);

// The option by which a sample's result depends on how much padding it has, so that all batches must have max-length
// positions; "" where it does not.
std::string padding_option(const ModelOptions& options);

// Those that this model does not read, its attention's among them.
std::vector<UnreadOption> unread_model_options(const CLI::App& app, const ModelOptions& options);

// OptionError for options that do not go with each other. `pad_to` is the batches' number of positions, 0 if it varies.
void check_model_options(const CLI::App& app, const ModelOptions& options, Index pad_to);

// Of pairs, what the encoder and its two-tower head make of a Batch's rows. OptionError for pairs with a mixer.
std::unique_ptr<nn::Classifier> make_model(const nn::Place& place, const ModelOptions& options, const TaskShape& task);

}  // namespace subquad::lra
