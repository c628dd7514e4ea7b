#include "subquad/examples/lra/train_options.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <sstream>

#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

namespace {

// Of these a resumed run may be given new values; all others would make it another run.
const std::vector<std::string> kFreeOnResume = {"data",        "device",           "cuda-graph", "threads",
                                                "max-minutes", "progress-seconds", "keep",       "profile"};

constexpr std::uint64_t kMostProfiled = 10'000;  // steps: some hundred ops each are held in memory

// config.toml keeps it so, since a run may be resumed from elsewhere.
CLI::Validator absolute_path() {
  const auto change = [](std::string& path) {
    if (path.empty()) return std::string("the name is empty");
    path = std::filesystem::absolute(path).lexically_normal().string();
    return std::string();
  };
  return CLI::Validator(change, "", "absolute_path");
}

// Numbers with commas between them, none twice; no number, too. Error naming what is wrong.
std::vector<std::uint64_t> parse_seeds(const std::string& list) {
  const CLI::Validator number = whole(0, std::numeric_limits<std::uint64_t>::max());
  std::vector<std::uint64_t> seeds;
  if (list.ends_with(',')) throw Error(cat("'", list, "' has an empty item, expected whole numbers"));
  std::istringstream items(list);
  for (std::string item; std::getline(items, item, ',');) {
    if (item.empty()) throw Error(cat("'", list, "' has an empty item, expected whole numbers"));
    if (const std::string wrong = number(item); !wrong.empty()) throw Error(wrong);
    seeds.push_back(std::stoull(item));
    if (std::count(seeds.begin(), seeds.end(), seeds.back()) > 1) throw Error(cat("seed ", item, " comes twice"));
  }
  return seeds;
}

CLI::Validator seed_list() {
  const auto check = [](const std::string& list) {
    try {
      parse_seeds(list);
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  return CLI::Validator(check, "");
}

std::string task_help() {
  std::string text = "What is learnt:";
  const char* separator = " ";
  for (const TaskKind& kind : task_kinds()) {
    text += cat(separator, kind.name, " (", kind.about, ")");
    separator = ", ";
  }
  return text;
}

void add_task_options(CLI::App& app, TrainOptions& o) {
  app.add_option("--task", o.data.task, task_help())->type_name("NAME")->check(available(task_names()));
  app.add_option("--data", o.data.folder, "Folder with the task's files; needed but for --resume")
      ->type_name("DIR")
      ->transform(absolute_path());
  app.add_flag("--check-data", o.check_data, "Only tell what the task's files hold, or what is wrong with them")
      ->configurable(false);
  add_whole(app, "--train-samples", o.data.train_samples, 0, kMostSamples,
            "Training on so many samples, drawn at random, the same for every seed; 0: on all");
  add_whole(app, "--validation-samples", o.data.validation_samples, 0, kMostSamples,
            "Validation on so many, drawn in the same way; 0: on all");
  add_whole(app, "--test-samples", o.data.test_samples, 0, kMostSamples, "The test on so many; 0: on all");
  app.add_flag("--drop-brackets", o.data.drop_brackets, "ListOps without ']', as broken as before LRA's fix of 2021");
  app.add_flag("--paper-protocol", o.data.paper_protocol,
               "Text: validation on the test set, as published; else on films kept out of training");
  add_whole(app, "--cut", o.data.cut, 0, kMostPositions, "Texts: the first bytes of each that are read; 0: 4000");
  add_choice(app, "--grey", o.data.grey, parse_grey_rule, grey_rule_name,
             "How Image's colours become grey: tensorflow (as LRA does) or pil");
  app.add_flag("--zero-is-pad", o.batches.zero_is_pad,
               "Images: no attention to black pixels, which LRA's code takes for padding");
  add_choice(app, "--difficulty", o.data.difficulty, parse_pathfinder_level, pathfinder_level_name,
             "Of pathfinder and path-x: easy, intermediate or hard, which is LRA's task");
  app.add_option("--out", o.out, "Folder of the run, must not exist yet; needed but for --resume and --check-data")
      ->type_name("DIR")
      ->check(not_empty());
  add_whole(app, "--seed", o.seed, 0, std::numeric_limits<std::uint64_t>::max(), "Of weights, data order and dropout");
  app.add_option_function<std::string>(
         "--seeds", [&o](const std::string& list) { o.seeds = parse_seeds(list); },
         "In place of --seed, as 1,2,3: a run for each in OUT/seed-1 and so on, then a table with mean and deviation")
      ->type_name("LIST")
      ->check(seed_list());
  app.add_option("--device", o.device, "cpu, cuda or cuda:1")->type_name("NAME");
  add_choice(app, "--precision", o.precision, parse_precision, precision_name,
             "fp32, tf32 or bf16: of the products' operands; all else stays float32. cuda only, but for fp32");
  app.add_flag("--cuda-graph", o.cuda_graph, "Records the step of each batch shape once and replays it; cuda only");
  add_whole(app, "--threads", o.threads, 0, 4096, "0: one per processor");
}

void add_training_options(CLI::App& app, TrainOptions& o) {
  add_whole(app, "--steps", o.steps, 0, kMostSteps, "Optimiser steps of the whole run");
  add_number(app, "--learning-rate", o.schedule.rate, at_least(0), "Peak of the schedule");
  add_choice(app, "--schedule", o.schedule.kind, nn::parse_schedule, nn::schedule_name,
             "constant, linear, cosine, inverse_sqrt or one_cycle (which moves beta1, too)");
  add_whole(app, "--warmup", o.schedule.warmup, 0, kMostSteps, "Steps until the peak");
  add_number(app, "--beta1", o.optimizer.beta1, fraction(), "AdamW");
  add_number(app, "--beta2", o.optimizer.beta2, fraction(), "AdamW");
  add_number(app, "--epsilon", o.optimizer.epsilon, above(0), "AdamW");
  add_number(app, "--weight-decay", o.optimizer.weight_decay, at_least(0), "AdamW, decoupled");
  add_number(app, "--clip-norm", o.clip_norm, at_least(0), "Largest norm of all gradients together; 0: any");
}

void add_batch_options(CLI::App& app, TrainOptions& o) {
  add_whole(app, "--batch-size", o.batches.size, 1, kMostSamples, "Samples per step");
  add_whole(app, "--pad-to", o.batches.pad_to, 0, kMostPositions,
            "Positions of every batch; 0: its longest sample, or max-length where results depend on padding");
  add_whole(app, "--pad-multiple", o.batches.pad_multiple, 1, kMostPositions, "Positions are rounded up to a multiple");
  add_whole(app, "--bucket", o.batches.bucket, 1, kMostSamples,
            "Batches whose samples are sorted by length together; 1: no sorting");
  add_whole(app, "--accumulate", o.batches.accumulate, 1, kMostSamples,
            "Micro-batches that a step's batch is computed in, for less memory; to rounding the same result");
}

void add_run_options(CLI::App& app, TrainOptions& o) {
  add_whole(app, "--log-every", o.log_every, 1, kMostSteps, "Steps per training record");
  add_whole(app, "--evaluate-every", o.evaluate_every, 1, kMostSteps, "Steps between validations");
  add_whole(app, "--checkpoint-every", o.checkpoint_every, 1, kMostSteps, "Steps between checkpoints");
  add_whole(app, "--keep", o.keep, 1, kMostSteps, "Newest checkpoints that stay, beside the best");
  add_whole(app, "--patience", o.patience, 0, kMostSteps,
            "End after so many validations in a row without a better accuracy; 0: never");
  add_number(app, "--max-minutes", o.max_minutes, between(0, 1e6), "Save and end after this time; 0: no limit");
  add_number(app, "--progress-seconds", o.progress_seconds, between(0, 1e6),
             "Between progress lines, if stderr is no terminal");
  app.add_flag("--profile{10}", o.profile,
               "Times each op of so many steps, after 10 to warm up: a table, and RUN/trace.json for chrome://tracing")
      ->configurable(false)
      ->check(whole(0, kMostProfiled));
}

std::unique_ptr<CLI::App> make_app(TrainOptions& options) {
  auto app = std::make_unique<CLI::App>("Trains a model on a task of Long Range Arena.", "train_lra");
  app->option_defaults()->always_capture_default();
  add_task_options(*app, options);
  add_model_options(*app, options.model);
  add_attention_options(*app, options.model.encoder.attention);
  add_training_options(*app, options);
  add_batch_options(*app, options);
  add_run_options(*app, options);
  app->add_option("--resume", options.resume, "Go on with the run in this folder")
      ->type_name("DIR")
      ->configurable(false)
      ->check(not_empty());
  app->set_config("--preset", "",
                  "TOML file with any of these options, without the dashes; what the command line says "
                  "goes before it")
      ->type_name("FILE");
  add_set_option(*app);
  app->footer(
      "Example: train_lra --preset examples/lra/presets/listops/softmax-quick.toml --data data/listops-quick --out "
      "runs/first\n"
      "Before that: train_lra --task listops --data data/listops-quick --check-data\n"
      "Exit status: 0 done, or time limit reached; 1 error; 2 wrong option; 130 Ctrl-C; 143 SIGTERM.");
  return app;
}

// The arguments of the run in `folder` as it was started, plus those of the new command line that may change.
std::vector<std::string> resumed_arguments(const CLI::App& app, const std::string& config) {
  std::vector<std::string> args = {"--preset", config};
  for (const CLI::Option* option : app.get_options()) {
    const std::string& name = option->get_lnames().front();
    if (option->count() == 0 || name == "resume") continue;
    if (std::find(kFreeOnResume.begin(), kFreeOnResume.end(), name) == kFreeOnResume.end())
      throw OptionError(cat("--", name, " cannot be given with --resume; it comes from ", config));
    args.push_back(cat("--", name, "=", option->results().front()));  // in one word: a flag takes no second one
  }
  return args;
}

// The lines of a TOML file but for those of these options, and for blank ones.
std::string without_options(const std::string& toml, const std::vector<UnreadOption>& unread) {
  std::string kept;
  std::istringstream lines(toml);
  for (std::string line; std::getline(lines, line);) {
    const std::string name = "--" + line.substr(0, line.find('='));
    const bool out =
        std::any_of(unread.begin(), unread.end(), [&](const UnreadOption& option) { return option.name == name; });
    if (!out && !line.empty()) kept += line + '\n';
  }
  return kept;
}

// Those of other tasks than the one that is given.
std::vector<UnreadOption> unread_task_options(const std::string& task) {
  std::vector<UnreadOption> unread;
  const auto only = [&](const std::vector<std::string>& owners, const char* option) {
    if (std::find(owners.begin(), owners.end(), task) == owners.end())
      unread.push_back({option, cat("--task ", CLI::detail::join(owners, " or "), "; this is ", task)});
  };
  only({"listops"}, "--drop-brackets");
  only({"text"}, "--paper-protocol");
  std::vector<std::string> texts;
  for (const TaskKind& kind : task_kinds())
    if (kind.texts) texts.push_back(kind.name);
  only(texts, "--cut");
  only({"image"}, "--grey");
  only({"image", "pathfinder", "path-x"}, "--zero-is-pad");
  only({"pathfinder", "path-x"}, "--difficulty");
  only({"retrieval", "imdb-pairs"}, "--pair-head");
  return unread;
}

// Defaults that depend on other options.
void settle(CLI::App& app, TrainOptions& options) {
  const Index nominal = options.data.cut > 0 ? options.data.cut : task_kind(options.data.task).nominal;
  settle_model_options(app, options.model, nominal);
  const bool fixed = !padding_option(options.model).empty();
  settle_option(app, "--pad-to", options.batches.pad_to, fixed ? options.model.encoder.max_length : 0);
}

// Settles and checks what is about the task and the model; the options that they do not read.
std::vector<UnreadOption> settle_and_check(CLI::App& app, TrainOptions& options) {
  std::vector<UnreadOption> unread = unread_task_options(options.data.task);
  refuse_unread(app, unread);
  settle(app, options);
  const Index max_length = options.model.encoder.max_length;
  if (options.batches.pad_to > max_length)
    throw OptionError(cat("--pad-to ", options.batches.pad_to, " is more than --max-length ", max_length));
  check_model_options(app, options.model, options.batches.pad_to);
  if (options.batches.zero_is_pad && options.model.mix_padding)
    throw OptionError("--zero-is-pad does not go with --mix-padding, which hides nothing");
  options.batches.max_length = max_length;
  const std::vector<UnreadOption> of_model = unread_model_options(app, options.model);
  unread.insert(unread.end(), of_model.begin(), of_model.end());
  return unread;
}

void finish(CLI::App& app, TrainOptions& options) {
  if (options.data.folder.empty()) throw OptionError("--data is required");
  if (options.out.empty() && !options.check_data) throw OptionError("--out is required");
  std::vector<UnreadOption> unread = settle_and_check(app, options);
  if (!options.seeds.empty() && options.seed != TrainOptions().seed)
    throw OptionError(cat("--seed ", options.seed, " does not go with --seeds, which says the seed of each run"));
  if (options.device == "cpu" && options.precision != Precision::fp32)
    throw OptionError(cat("--precision ", options.precision, " needs --device cuda: the CPU computes in fp32"));
  if (options.device == "cpu" && options.cuda_graph) throw OptionError("--cuda-graph needs --device cuda");
  if (options.cuda_graph && options.batches.accumulate > 1)
    throw OptionError(cat("--cuda-graph does not go with --accumulate ", options.batches.accumulate,
                          ": a recorded step is one batch"));
  options.schedule.total = options.steps;
  if (options.batches.pad_to > 0) unread.push_back({"--pad-multiple", "--pad-to 0"});
  options.config = without_options(app.config_to_str(true, false), unread);
  options.config_with_help = app.config_to_str(true, true);
}

}  // namespace

bool parse_train_options(const std::vector<std::string>& args, TrainOptions& options) {
  options = TrainOptions();
  std::unique_ptr<CLI::App> app = make_app(options);
  if (!parse_options(*app, args)) return false;
  if (!options.resume.empty()) {
    if (options.check_data) throw OptionError("--check-data does not go with --resume");
    const std::string folder = options.resume;
    const std::vector<std::string> earlier =
        resumed_arguments(*app, RunFolder::config_in(folder, "--resume ").string());
    options = TrainOptions();
    app = make_app(options);
    parse_options(*app, earlier);
    options.resume = options.out = folder;
  }
  finish(*app, options);
  return true;
}

void add_fresh_model_options(CLI::App& app, TrainOptions& options) {
  {
    const OptionGroup fresh(app, "A fresh model");
    add_task_options(app, options);
  }
  for (const char* own : {"--out", "--device", "--threads", "--check-data"}) app.remove_option(app.get_option(own));
  constexpr const char* kHidden = "";  // presets have them
  for (const char* name : {"--data", "--train-samples", "--validation-samples", "--test-samples", "--paper-protocol",
                           "--seeds", "--precision", "--cuda-graph"})
    app.get_option(name)->group(kHidden);
  {
    const OptionGroup hidden(app, kHidden);
    add_training_options(app, options);
    add_batch_options(app, options);
    add_run_options(app, options);
  }
  {
    const OptionGroup model(app, "Model");
    add_model_options(app, options.model);
  }
  add_attention_options(app, options.model.encoder.attention);
  app.set_config("--preset", "", "TOML file of train_lra with any of these options, without the dashes")
      ->type_name("FILE");
}

void settle_fresh_model(CLI::App& app, TrainOptions& options) {
  settle_and_check(app, options);
  options.precision = Precision::fp32;
  options.cuda_graph = false;
}

TrainOptions read_run_options(const RunFolder& run, const RunUse& use) {
  TrainOptions options;
  const std::unique_ptr<CLI::App> app = make_app(options);
  std::vector<std::string> args = {"--preset", run.config().string(), "--cuda-graph=false"};
  const auto change = [&](const char* name, const std::string& value) { args.push_back(cat(name, "=", value)); };
  if (!use.data.empty()) change("--data", use.data);
  if (!use.device.empty()) change("--device", use.device);
  if (use.device == "cpu") change("--precision", std::string(precision_name(Precision::fp32)));
  if (use.threads > 0) change("--threads", cat(use.threads));
  parse_options(*app, args);
  finish(*app, options);
  options.out = run.path().string();
  return options;
}

}  // namespace subquad::lra
