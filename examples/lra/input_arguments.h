// Inputs as programs take them that ask a model: on the command line, where an expression or a text looks like much
// that an option parser has a meaning for, and from files.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace subquad::lra {

struct InputArguments {
  std::vector<std::string> arguments;  // "-": the standard input
  std::vector<std::string> files;
};

// INPUT... and --file.
void add_input_options(CLI::App& app, InputArguments& inputs);

// For parse_options: CLI11 takes [a,b] among many arguments for a list of them, {} for an empty one, and a dash for an
// option; not behind a mark. Take it off each text that may have got one.
std::vector<std::string> marked_inputs(const std::vector<std::string>& args);
void take_mark(std::string& arg);
void take_marks(InputArguments& inputs);

// OptionError where none is given, or one on the command line that comes from files only; a note on stderr where one
// names a file and is taken for the input itself.
void check_inputs(const InputArguments& inputs, const std::string& task);

}  // namespace subquad::lra
