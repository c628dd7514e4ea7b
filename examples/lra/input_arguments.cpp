#include "subquad/examples/lra/input_arguments.h"

#include <filesystem>
#include <iostream>

#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/tasks/raw_input.h"

namespace subquad::lra {

namespace {

constexpr char kMark = '\1';

}  // namespace

void add_input_options(CLI::App& app, InputArguments& inputs) {
  app.add_option("input", inputs.arguments,
                 "Texts or expressions; - reads the standard input, -- stands before one with a dash")
      ->type_name("INPUT...")
      ->default_str("");
  app.add_option("--file", inputs.files, "An input in a file; may come many times, after the others in order")
      ->type_name("PATH")
      ->default_str("")
      ->allow_extra_args(false);
}

std::vector<std::string> marked_inputs(const std::vector<std::string>& args) {
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

void take_marks(InputArguments& inputs) {
  for (std::vector<std::string>* list : {&inputs.arguments, &inputs.files})
    for (std::string& text : *list) take_mark(text);
}

void check_inputs(const InputArguments& inputs, const std::string& task) {
  const InputKind& kind = input_kind(task);
  if (inputs.arguments.empty() && inputs.files.empty())
    throw OptionError(
        cat("expected ", kind.about, kind.only_files ? ", by --file" : ", or --file, or - for the standard input"));
  for (const std::string& argument : inputs.arguments) {
    if (argument == "-") continue;
    if (kind.only_files) throw OptionError(cat("'", argument, "': --task ", task, " takes files: --file ", argument));
    std::error_code failure;
    if (std::filesystem::is_regular_file(argument, failure))
      std::cerr << "note: " << argument << " is taken for the input itself; --file " << argument << " reads the file\n";
  }
}

}  // namespace subquad::lra
