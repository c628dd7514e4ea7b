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

// The names with the smallest edit distance; none when even they are unlike (more than half of their letters would have
// to change).
std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& names);

// "; the nearest is " + lead + the nearest name, or all of them joined by "or"; "" when there is none.
std::string nearest_hint(std::string_view name, const std::vector<std::string>& names, const char* lead = "");

// Parses the arguments (without the program's name), and the TOML file of the app's config option if it has one: the
// command line goes before the file, the file before the defaults. Returns false when --help was asked for and has been
// printed. OptionError for anything wrong, which names the file where it stands in one; there every value is checked,
// also one that the command line replaces.
bool parse_options(CLI::App& app, const std::vector<std::string>& args);

// Checks of a finite number whose messages stay short: "--rate: -1, expected a number at least 0".
CLI::Validator at_least(double least);
CLI::Validator above(double bound);
CLI::Validator between(double least, double most);
CLI::Validator fraction();  // at least 0 and below 1

// Of a whole number in plain decimal digits. CLI11 alone wraps or saturates what does not fit, and reads 010 as 8.
CLI::Validator whole(std::uint64_t least, std::uint64_t most);

CLI::Validator not_empty();

}  // namespace subquad::lra
