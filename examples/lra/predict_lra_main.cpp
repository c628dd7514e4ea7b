// Asks a model that train_lra has trained; `predict_lra --help` lists what it can be told.
//
// Ends with 0, with 1 on an error, which an input that cannot be read is, and 2 on a wrong option.
#include <iostream>

#include "subquad/examples/lra/input_arguments.h"
#include "subquad/examples/lra/predict.h"
#include "subquad/examples/lra/program.h"
#include "subquad/examples/lra/saved_model.h"

namespace subquad::lra {

namespace {

struct PredictOptions {
  SavedModelOptions model;
  InputArguments inputs;
  Index top = 5;
  bool json = false;
};

bool parse(const std::vector<std::string>& args, PredictOptions& options) {
  CLI::App app("Asks a model that train_lra has trained, and prints how likely it takes each class to be.",
               "predict_lra");
  app.option_defaults()->always_capture_default();
  add_saved_model_options(app, options.model);
  add_input_options(app, options.inputs);
  add_whole(app, "--top", options.top, 1, kMostFeatures, "Classes that are printed");
  app.add_flag("--json", options.json, "Print JSON, with all digits");
  app.footer(
      "What an input is depends on the run's task:\n"
      "  listops                          predict_lra runs/first \"[MAX 2 9 [MIN 4 7 ] 0 ]\"\n"
      "  text, custom                     predict_lra runs/text \"A fine film.\" --file review.txt\n"
      "  image, pathfinder, path-x        predict_lra runs/image --file cat.png\n"
      "  retrieval, imdb-pairs (of two)   predict_lra runs/pairs --file one.txt --file other.txt\n"
      "Exit status: 0 done; 1 error; 2 wrong option.");
  if (!parse_options(app, marked_inputs(args))) return false;
  for (std::string* text : {&options.model.run, &options.model.checkpoint}) take_mark(*text);
  take_marks(options.inputs);
  return true;
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
  check_inputs(options.inputs, run.data.task);
  const RunStart start = read_run_start(RunFolder::open(options.model.run));
  const std::vector<RawInput> inputs = read_raw_inputs(options.inputs.arguments, options.inputs.files, std::cin);
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
