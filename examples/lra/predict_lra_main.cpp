// Asks a model that train_lra has trained; `predict_lra --help` lists what it can be told.
//
// Ends with 0, with 1 on an error, which an input that cannot be read is, and 2 on a wrong option.
#include <iostream>

#include "subquad/examples/lra/predict.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/saved_model.h"

namespace subquad::lra {

namespace {

struct PredictOptions {
  SavedModelOptions model;
  std::vector<std::string> arguments;
  std::vector<std::string> files;
  Index top = 5;
  bool json = false;
};

// CLI11 takes [a,b] among many arguments for a list of them, {} for an empty one, and a dash for an option; not behind
// a mark.
constexpr char kMark = '\1';

std::vector<std::string> marked(const std::vector<std::string>& args) {
  std::vector<std::string> words;
  bool only_inputs = false;  // behind --
  for (const std::string& arg : args) {
    if (!only_inputs && arg == "--") {
      only_inputs = true;
      continue;
    }
    const bool mark = only_inputs || arg.empty() || arg[0] == '[' || arg[0] == '{' || arg[0] == kMark;
    words.push_back(mark ? kMark + arg : arg);
  }
  return words;
}

void take_mark(std::string& arg) {
  if (arg.starts_with(kMark)) arg.erase(0, 1);
}

bool parse(const std::vector<std::string>& args, PredictOptions& options) {
  CLI::App app("Asks a model that train_lra has trained, and prints how likely it takes each class to be.",
               "predict_lra");
  app.option_defaults()->always_capture_default();
  add_saved_model_options(app, options.model);
  app.add_option("input", options.arguments,
                 "Texts or expressions; - reads the standard input, -- stands before one with a dash")
      ->type_name("INPUT...")
      ->default_str("");
  app.add_option("--file", options.files, "An input in a file; may come many times, after the others in order")
      ->type_name("PATH")
      ->default_str("")
      ->allow_extra_args(false);
  add_whole(app, "--top", options.top, 1, kMostFeatures, "Classes that are printed");
  app.add_flag("--json", options.json, "Print JSON, with all digits");
  app.footer(
      "What an input is depends on the run's task:\n"
      "  listops                          predict_lra runs/first \"[MAX 2 9 [MIN 4 7 ] 0 ]\"\n"
      "  text, custom                     predict_lra runs/text \"A fine film.\" --file review.txt\n"
      "  image, pathfinder, path-x        predict_lra runs/image --file cat.png\n"
      "  retrieval, imdb-pairs (of two)   predict_lra runs/pairs --file one.txt --file other.txt\n"
      "Exit status: 0 done; 1 error; 2 wrong option.");
  if (!parse_options(app, marked(args))) return false;
  for (std::string* text : {&options.model.run, &options.model.checkpoint}) take_mark(*text);
  for (std::vector<std::string>* list : {&options.arguments, &options.files})
    for (std::string& text : *list) take_mark(text);
  return true;
}

void check_inputs(const PredictOptions& options, const std::string& task) {
  const InputKind& kind = input_kind(task);
  if (options.arguments.empty() && options.files.empty())
    throw OptionError(
        cat("expected ", kind.about, kind.only_files ? ", by --file" : ", or --file, or - for the standard input"));
  for (const std::string& argument : options.arguments) {
    if (argument == "-") continue;
    if (kind.only_files) throw OptionError(cat("'", argument, "': --task ", task, " takes files: --file ", argument));
    std::error_code failure;
    if (std::filesystem::is_regular_file(argument, failure))
      std::cerr << "note: " << argument << " is taken for the input itself; --file " << argument << " reads the file\n";
  }
}

// "" or why an answer may differ from the one that the same input got among others.
std::string batch_note(const nn::AttentionConfig& attention) {
  if (attention.kind != "nystrom" || attention.nystrom.pinv_start == nn::PinvStart::exact) return "";
  return cat("with --pinv-start ", nn::pinv_start_name(attention.nystrom.pinv_start),
             " the inputs of a batch share a coefficient: eval_lra, which scores them in batches, may find other "
             "probabilities");
}

int predict_lra(const std::vector<std::string>& args) {
  PredictOptions options;
  if (!parse(args, options)) return 0;
  const TrainOptions run = open_saved_model(options.model);
  check_inputs(options, run.data.task);
  const RunStart start = read_run_start(RunFolder::open(options.model.run));
  const std::vector<RawInput> inputs = read_raw_inputs(options.arguments, options.files, std::cin);
  const std::vector<Question> asked = questions(inputs, run.data, start.shape.parts, longest_sequence(run.batches));

  if (const std::string note = batch_note(run.model.encoder.attention); !note.empty())
    std::cerr << "note: " << note << std::endl;
  Learner learner(run, start.shape);
  const LoadedCheckpoint checkpoint = load_saved_model(options.model, learner);
  const auto top = static_cast<std::size_t>(options.top);
  Record record = {{"run", options.model.run},
                   {"task", run.data.task},
                   {"checkpoint", checkpoint.name},
                   {"step", checkpoint.origin.step},
                   {"answers", Record::array()}};
  if (!options.json)
    std::cout << options.model.run << ": " << run.data.task << ", checkpoint " << checkpoint.name << ", step "
              << checkpoint.origin.step << '\n';
  for (const Question& question : asked) {
    const std::vector<Answer> found = answers(learner, start, question, run.batches);
    if (options.json)
      record["answers"].push_back(answers_record(question, found, top));
    else
      print_answers(question, found, top, std::cout << '\n');
  }
  if (options.json) std::cout << record.dump(2, ' ', false, Record::error_handler_t::replace) << '\n';
  return 0;
}

}  // namespace

}  // namespace subquad::lra

int main(int argc, char** argv) {
  return subquad::lra::run_program("predict_lra", argc, argv, subquad::lra::predict_lra);
}
