// What the programs of this folder share about their command line: CLI11 reads it, and a wrong name is answered with
// the nearest right one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "subquad/core/error.h"

namespace subquad::lra {

// A wrong command line or preset file. Programs end with status 2 on it, with 1 on any other Error.
class OptionError : public Error {
 public:
  using Error::Error;
};

// The name with the smallest edit distance, the first of equals; "" when even that one is unlike (more than half of its
// letters would have to change).
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

// "; the nearest is " + lead + the nearest name, or "" when there is none.
std::string nearest_hint(std::string_view name, const std::vector<std::string>& names, const char* lead = "");

// Parses the arguments (without the program's name), and the TOML file of the app's config option if it has one: the
// command line goes before the file, the file before the defaults. Returns false when --help was asked for and has been
// printed. OptionError for anything wrong.
bool parse_options(CLI::App& app, const std::vector<std::string>& args);

// Checks of a number whose messages stay short: "--steps: 0, expected at least 1".
CLI::Validator at_least(double least);
CLI::Validator between(double least, double most);

// argv[1] ... argv[argc - 1].
std::vector<std::string> arguments(int argc, char** argv);

}  // namespace subquad::lra
