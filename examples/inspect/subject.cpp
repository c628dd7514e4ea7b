#include "subquad/examples/inspect/subject.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <system_error>
#include <utility>

#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/tasks/lines.h"
#include "subquad/examples/lra/tasks/listops.h"
#include "subquad/examples/lra/tasks/texts.h"

namespace subquad::inspect {

namespace {

using lra::OptionError;

const char* const kFooter =
    "A trained model is told by its run, a fresh one by --task, --attention or --preset and the options of the model:\n"
    "  inspect_attention runs/first \"[MAX 2 9 [MIN 4 7 ] 0 ]\" --out first.html\n"
    "  inspect_attention --task listops --attention nystrom --landmarks 8 --max-length 64 \"[MAX 2 9 [MIN 4 7 ] 0 ]\"\n"
    "  inspect_attention runs/image --file cat.png\n"
    "  inspect_attention runs/pairs --file one.txt --file other.txt --of-pair 2\n"
    "Exit status: 0 done; 1 error; 2 wrong option.";

// The first of them that was given.
const CLI::Option* given(const std::vector<const CLI::Option*>& options) {
  for (const CLI::Option* option : options)
    if (option->count() > 0) return option;
  return nullptr;
}

// Not of the file system's errors: an input may be longer than any name there.
bool is_folder(const std::string& name) {
  std::error_code unknown;
  return std::filesystem::is_directory(name, unknown);
}

bool is_there(const std::string& name) {
  std::error_code unknown;
  return std::filesystem::exists(name, unknown);
}

// Also where they are named differently, or are not there yet.
bool same_file(const std::string& one, const std::string& other) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  if (fs::equivalent(one, other, unknown)) return true;
  const fs::path first = fs::weakly_canonical(fs::absolute(one, unknown), unknown);
  return !first.empty() && first == fs::weakly_canonical(fs::absolute(other, unknown), unknown);
}

// What is written must replace neither the other file that is, nor what is asked.
void check_outputs(const InspectOptions& options) {
  if (!options.matrices.empty() && same_file(options.out, options.matrices))
    throw OptionError(cat("--out and --matrices are the same file: ", options.out));
  for (const std::string& file : options.inputs.files) {
    if (same_file(options.out, file)) throw OptionError(cat("--out would replace the input --file ", file));
    if (!options.matrices.empty() && same_file(options.matrices, file))
      throw OptionError(cat("--matrices would replace the input --file ", file));
  }
}

// A fresh model has no run: what stands in its place is the first input.
void without_run(InspectOptions& options) {
  std::string& first = options.saved.run;
  if (first.empty()) return;
  if (is_folder(first))
    throw OptionError(cat("the run ", first, " has a task and a model of its own: no option can choose others"));
  options.inputs.arguments.insert(options.inputs.arguments.begin(), first);
  first.clear();
}

// What a task has without its data. Classes get numbers, which are ListOps' values anyway.
lra::RunStart fresh_start(const std::string& task) {
  const bool texts = lra::task_kind(task).texts, listops = task == "listops";
  lra::RunStart start;
  start.shape = {.vocabulary = listops ? lra::kListopsVocabulary
                               : texts ? lra::kTextVocabulary
                                       : 256,
                 .classes = listops || task == "image" ? 10 : 2,
                 .parts = task == "retrieval" || task == "imdb-pairs" ? 2 : 1};
  for (Index c = 0; c < start.shape.classes; ++c) start.class_names.push_back(cat(listops ? "" : "class ", c));
  return start;
}

// Padding changes nothing for most models, and then there is none; the others get as much as in training.
lra::BatchOptions without_padding(const lra::TrainOptions& options) {
  lra::BatchOptions batches = options.batches;
  if (lra::padding_option(options.model).empty()) batches.pad_to = 0;
  batches.pad_multiple = 1;
  return batches;
}

lra::Batch batch_of(const lra::Question& question, const lra::BatchOptions& options) {
  const std::vector<lra::EncodedInput>& parts = question.parts;
  lra::Sequences set(parts[0].first_id, std::ssize(parts));
  if (parts.size() == 1)
    set.append_bytes({parts[0].tokens}, 0);
  else
    set.append_bytes({parts[0].tokens, parts[1].tokens}, 0);
  return make_batch(set, {0}, options);
}

lra::Question one_question(const std::vector<lra::RawInput>& inputs, const Subject& subject) {
  std::vector<lra::Question> asked = lra::questions(inputs, subject.options.data, subject.start.shape.parts,
                                                    lra::longest_sequence(subject.options.batches));
  if (asked.size() != 1) throw OptionError(cat("one input at a time, or one pair: there are ", inputs.size()));
  return std::move(asked[0]);
}

// Arguments come before files.
std::string asked_text(const InspectOptions& options, const std::vector<lra::RawInput>& inputs, Index part,
                       const std::string& task) {
  const lra::RawInput& input = inputs[static_cast<std::size_t>(part)];
  const bool typed = part < std::ssize(options.inputs.arguments);
  const std::string which = inputs.size() == 2 ? cat("the ", part == 0 ? "first" : "second", " of a pair: ") : "";
  if (typed) return which + input.bytes;
  const bool words = lra::task_kind(task).texts || task == "listops";
  return cat(which, input.name, words ? cat(": ", input.bytes) : std::string());
}

}  // namespace

bool parse_inspect_options(const std::vector<std::string>& args, InspectOptions& options) {
  CLI::App app(
      "Writes a page (one HTML file, which needs nothing else) that shows what a model's attention does with an input.",
      "inspect_attention");
  app.option_defaults()->always_capture_default();
  lra::add_fresh_model_options(app, options.fresh);
  const std::vector<const CLI::Option*> of_model = std::as_const(app).get_options();
  lra::add_saved_model_options(app, options.saved);
  options.saved.use.device = "cpu";
  app.get_option("--device")->default_str("cpu");
  lra::add_input_options(app, options.inputs);
  app.add_option("--out", options.out, "The page that is written")->type_name("FILE")->check(lra::not_empty());
  lra::add_whole(app, "--of-pair", options.of_pair, 1, 2, "Which one of a pair is looked at: 1 or 2");
  app.add_option("--matrices", options.matrices, "Writes the matrices as they were computed, too: a safetensors file")
      ->type_name("FILE")
      ->default_str("");
  lra::add_number(app, "--megabytes", options.megabytes, lra::between(0.1, 1000),
                  "The page is no larger: of long inputs its pictures show blocks");
  lra::add_number(app, "--memory", options.gigabytes, lra::between(0, 1e6),
                  "GB: an input whose N x N matrices need more is refused; 0: three quarters of what is free");
  app.footer(kFooter);
  if (!lra::parse_options(app, lra::marked_inputs(args))) return false;
  for (std::string* text : {&options.saved.run, &options.saved.checkpoint, &options.out, &options.matrices})
    lra::take_mark(*text);
  lra::take_marks(options.inputs);
  check_outputs(options);

  if (const CLI::Option* option = given(of_model)) {
    without_run(options);
    if (app.get_option("--checkpoint")->count() > 0)
      throw OptionError(cat("--checkpoint is of a run; ", option->get_name(), " asks for a fresh model"));
    lra::settle_fresh_model(app, options.fresh);
    return true;
  }
  if (options.saved.run.empty())
    throw OptionError("expected the folder of a run, or --task and --attention for a fresh model");
  if (!is_there(options.saved.run))
    throw OptionError(
        cat(lra::quoted(options.saved.run), " is no folder of a run; for a fresh model give --task and --attention"));
  return true;
}

Index Subject::own_tokens() const {
  return options.model.encoder.pooling == nn::Pooling::cls ? 1 : 0;
}

Subject open_subject(const InspectOptions& options) {
  Subject subject;
  const bool fresh = options.saved.run.empty();
  subject.options = fresh ? options.fresh : lra::open_saved_model(options.saved);
  const std::string& task = subject.options.data.task;
  if (fresh) {
    subject.options.device = options.saved.use.device;
    lra::set_up_processor(options.saved.use.threads);
  }
  check_inputs(options.inputs, task);
  subject.start = fresh ? fresh_start(task) : read_run_start(lra::RunFolder::open(options.saved.run));
  const std::vector<lra::RawInput> inputs =
      lra::read_raw_inputs(options.inputs.arguments, options.inputs.files, std::cin);
  subject.question = one_question(inputs, subject);
  if (options.of_pair > subject.start.shape.parts)
    throw OptionError(cat("--of-pair 2: --task ", task, " is not about pairs"));
  subject.part = options.of_pair - 1;
  subject.gigabytes = options.gigabytes;
  subject.asked = asked_text(options, inputs, subject.part, task);
  subject.batch = batch_of(subject.question, without_padding(subject.options));
  subject.learner = std::make_unique<lra::Learner>(subject.options, subject.start.shape);
  if (fresh) {
    subject.origin = cat("fresh, seed ", subject.options.seed, ": it has learnt nothing");
  } else {
    const lra::LoadedCheckpoint checkpoint = load_saved_model(options.saved, *subject.learner);
    subject.origin =
        cat("run ", options.saved.run, ", checkpoint ", checkpoint.name, ", step ", checkpoint.origin.step);
  }
  return subject;
}

}  // namespace subquad::inspect
