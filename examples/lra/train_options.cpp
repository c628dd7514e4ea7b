#include "subquad/examples/lra/train_options.h"

#include <algorithm>
#include <filesystem>

#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

namespace {

// Of these a resumed run may be given new values; all others would make it another run.
const std::vector<std::string> kFreeOnResume = {"data", "device", "threads", "max-minutes", "progress-seconds"};

CLI::Validator available(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  const auto check = [=](const std::string& text) {
    const bool found = std::find(names.begin(), names.end(), text) != names.end();
    return found ? std::string() : cat("'", text, "' is not in this build; available: ", list);
  };
  return CLI::Validator(check, list);
}

// config.toml keeps it so, since a run may be resumed from elsewhere.
CLI::Validator absolute_path() {
  const auto change = [](std::string& path) {
    path = std::filesystem::absolute(path).lexically_normal().string();
    return std::string();
  };
  return CLI::Validator(change, "DIR", "absolute_path");
}

// An option for one of nn's enumerations.
template <class T>
void add_choice(CLI::App& app, const char* name, T& value, T (*parse)(std::string_view), std::string_view (*spell)(T),
                const char* help) {
  const auto check = [parse](const std::string& text) {
    try {
      parse(text);
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  app.add_option_function<std::string>(
         name, [&value, parse](const std::string& text) { value = parse(text); }, help)
      ->default_str(std::string(spell(value)))
      ->check(CLI::Validator(check, "NAME"));
}

void add_task_options(CLI::App& app, TrainOptions& o) {
  app.add_option("--task", o.data.task, "What is learnt")->check(available(task_names()));
  app.add_option("--attention", o.model.attention.kind, "How positions see each other")
      ->check(available(nn::attention_kinds()));
  app.add_option("--data", o.data.folder, "Folder with the task's files")->required()->transform(absolute_path());
  app.add_flag("--drop-brackets", o.data.drop_brackets, "ListOps without ']', as broken as before LRA's fix of 2021");
  app.add_option("--out", o.out, "Folder of the run; must not exist yet")->required();
  app.add_option("--seed", o.seed, "Of weights, data order and dropout");
  app.add_option("--device", o.device, "cpu, cuda or cuda:1");
  app.add_option("--threads", o.threads, "0: one per processor")->check(at_least(0));
}

void add_model_options(CLI::App& app, TrainOptions& o) {
  nn::SequenceClassifierConfig& m = o.model;
  app.add_option("--max-length", m.max_length, "Longest sequence, size of the position table")->check(at_least(1));
  app.add_option("--layers", m.layers, "Encoder layers")->check(at_least(0));
  app.add_option("--width", m.width, "Features per position")->check(at_least(1));
  app.add_option("--heads", m.attention.heads, "Attention heads")->check(at_least(1));
  app.add_option("--feed-forward", m.hidden, "Hidden features of the feed-forward")->check(at_least(1));
  app.add_option("--head-hidden", m.head_hidden, "Hidden features of the classifier")->check(at_least(1));
  app.add_option("--dropout", m.dropout, "After the embedding and in the feed-forward")->check(between(0, 0.99));
  app.add_option("--attention-dropout", m.attention_dropout, "On the attention's output")->check(between(0, 0.99));
  add_choice(app, "--norm", m.norm, nn::parse_norm_order, nn::norm_order_name, "Layer norm: pre or post");
  add_choice(app, "--activation", m.activation, nn::parse_activation, nn::activation_name, "none, relu or gelu");
  add_choice(app, "--positions", m.positions, nn::parse_positions, nn::position_name, "none, learned or sinusoid");
  add_choice(app, "--pooling", m.pooling, nn::parse_pooling, nn::pooling_name, "mean, cls or flatten");
  app.add_flag("--over-padded-length", m.over_padded_length, "Mean pooling divides by max-length, as published code");
}

void add_training_options(CLI::App& app, TrainOptions& o) {
  app.add_option("--steps", o.steps, "Optimiser steps of the whole run")->check(at_least(0));
  app.add_option("--learning-rate", o.schedule.rate, "Peak of the schedule")->check(at_least(0));
  add_choice(app, "--schedule", o.schedule.kind, nn::parse_schedule, nn::schedule_name,
             "constant, linear, cosine, inverse_sqrt or one_cycle (which moves beta1, too)");
  app.add_option("--warmup", o.schedule.warmup, "Steps until the peak")->check(at_least(0));
  app.add_option("--beta1", o.optimizer.beta1, "AdamW")->check(between(0, 1));
  app.add_option("--beta2", o.optimizer.beta2, "AdamW")->check(between(0, 1));
  app.add_option("--epsilon", o.optimizer.epsilon, "AdamW")->check(at_least(0));
  app.add_option("--weight-decay", o.optimizer.weight_decay, "AdamW, decoupled")->check(at_least(0));
  app.add_option("--clip-norm", o.clip_norm, "Largest norm of all gradients together; 0: any")->check(at_least(0));
}

void add_batch_options(CLI::App& app, TrainOptions& o) {
  app.add_option("--batch-size", o.batches.size, "Samples per step")->check(at_least(1));
  app.add_option("--pad-to", o.batches.pad_to, "Positions of every batch; 0: its longest sample")->check(at_least(0));
  app.add_option("--pad-multiple", o.batches.pad_multiple, "Positions are rounded up to a multiple")
      ->check(at_least(1));
  app.add_option("--bucket", o.batches.bucket, "Batches whose samples are sorted by length together; 1: no sorting")
      ->check(at_least(1));
}

void add_run_options(CLI::App& app, TrainOptions& o) {
  app.add_option("--log-every", o.log_every, "Steps per training record")->check(at_least(1));
  app.add_option("--evaluate-every", o.evaluate_every, "Steps between validations")->check(at_least(1));
  app.add_option("--checkpoint-every", o.checkpoint_every, "Steps between checkpoints")->check(at_least(1));
  app.add_option("--max-minutes", o.max_minutes, "Save and end after this time; 0: no limit")->check(at_least(0));
  app.add_option("--progress-seconds", o.progress_seconds, "Between progress lines, if stderr is no terminal")
      ->check(at_least(0));
}

std::unique_ptr<CLI::App> make_app(TrainOptions& options) {
  auto app = std::make_unique<CLI::App>("Trains a model on a task of Long Range Arena.", "train_lra");
  app->option_defaults()->always_capture_default();
  add_task_options(*app, options);
  add_model_options(*app, options);
  add_training_options(*app, options);
  add_batch_options(*app, options);
  add_run_options(*app, options);
  app->add_option("--resume", options.resume, "Go on with the run in this folder")->configurable(false);
  app->set_config("--preset", "", "TOML file with any of these options, without the dashes");
  return app;
}

// The arguments of the run in `folder` as it was started, plus those of the new command line that may change.
std::vector<std::string> resumed_arguments(const CLI::App& app, const RunFolder& folder) {
  std::vector<std::string> args = {"--preset", folder.config().string()};
  for (const CLI::Option* option : app.get_options()) {
    const std::string& name = option->get_lnames().front();
    if (option->count() == 0 || name == "resume") continue;
    if (std::find(kFreeOnResume.begin(), kFreeOnResume.end(), name) == kFreeOnResume.end())
      throw OptionError(
          cat("train_lra: --", name, " cannot be given with --resume; it comes from ", folder.config().string()));
    args.push_back("--" + name);
    for (const std::string& value : option->results()) args.push_back(value);
  }
  return args;
}

void finish(const CLI::App& app, TrainOptions& options) {
  if (options.batches.pad_to > options.model.max_length)
    throw OptionError(
        cat("train_lra: --pad-to ", options.batches.pad_to, " is more than --max-length ", options.model.max_length));
  options.batches.max_length = options.model.max_length;
  options.schedule.total = options.steps;
  options.config = app.config_to_str(true, false);
  options.config_with_help = app.config_to_str(true, true);
}

}  // namespace

bool parse_train_options(const std::vector<std::string>& args, TrainOptions& options) {
  options = TrainOptions();
  std::unique_ptr<CLI::App> app = make_app(options);
  const bool resuming = std::any_of(args.begin(), args.end(),
                                    [](const std::string& a) { return a == "--resume" || a.starts_with("--resume="); });
  if (resuming)  // both come from config.toml
    for (const char* name : {"--data", "--out"}) app->get_option(name)->required(false);
  if (!parse_options(*app, args)) return false;
  if (resuming) {
    const std::string folder = options.resume;
    const std::vector<std::string> earlier = resumed_arguments(*app, RunFolder::open(folder));
    options = TrainOptions();
    app = make_app(options);
    parse_options(*app, earlier);
    options.resume = options.out = folder;
  }
  finish(*app, options);
  return true;
}

}  // namespace subquad::lra
