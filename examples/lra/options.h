// What the programs of this folder share about their command line: CLI11 reads it, and a wrong name is answered with
// the nearest right one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "subquad/core/error.h"
#include "subquad/core/shape.h"

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

// Adds --set KEY=VALUE, which may come many times: another way to write --KEY VALUE, for every key of a TOML file.
void add_set_option(CLI::App& app);

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

// A whole number as above, or -1.
CLI::Validator whole_or_minus_one(std::uint64_t least, std::uint64_t most);

CLI::Validator not_empty();
CLI::Validator available(const std::vector<std::string>& names);

// Far beyond any use, and small enough that products of a few of them are whole numbers still.
inline constexpr std::uint64_t kMostSteps = 1'000'000'000;
inline constexpr std::uint64_t kMostPositions = 10'000'000;
inline constexpr std::uint64_t kMostSamples = 1'000'000;
inline constexpr std::uint64_t kMostFeatures = 1'000'000;

// While it lives, options that are added belong to a group, which has a title of its own in --help.
class OptionGroup {
 public:
  OptionGroup(CLI::App& app, const std::string& title);
  ~OptionGroup();
  OptionGroup(const OptionGroup&) = delete;
  OptionGroup& operator=(const OptionGroup&) = delete;

 private:
  CLI::App& app_;
  std::string before_;
};

// An option that what else was chosen leaves without effect, and where it would have one.
struct UnreadOption {
  std::string name;
  std::string where;  // "--attention fsat; this is softmax"
};

// The options of a group, unread for the one reason.
std::vector<UnreadOption> unread_group(const CLI::App& app, const std::string& title, const std::string& where);

// OptionError "--lags 9 belongs to WHERE" for the first of them that has another value than its default.
void refuse_unread(const CLI::App& app, const std::vector<UnreadOption>& unread);

// Options with their checks; --help shows what `value` is now as the default.
template <class T>
CLI::Option* add_whole(CLI::App& app, const char* name, T& value, std::uint64_t least, std::uint64_t most,
                       const char* help) {
  return app.add_option(name, value, help)->type_name("N")->check(whole(least, most));
}

// A default that depends on other options, to be called after parsing: where the option was not given, `value` becomes
// `settled`, in the written configuration, too.
template <class T>
void settle_option(CLI::App& app, const std::string& name, T& value, const std::type_identity_t<T>& settled) {
  CLI::Option& option = *app.get_option(name);
  if (option.count() > 0) return;
  value = settled;
  option.default_str(std::to_string(settled));
}

CLI::Option* add_number(CLI::App& app, const char* name, double& value, const CLI::Validator& check, const char* help);

// Takes true or false, for what is true by default.
CLI::Option* add_truth(CLI::App& app, const char* name, bool& value, const char* help);

// Takes whole numbers with commas between: 512,256
CLI::Option* add_wholes(CLI::App& app, const char* name, std::vector<Index>& values, std::uint64_t least,
                        std::uint64_t most, const char* help);

// An option for an enumeration with its parser, which throws an Error "what: 'x', expected ..." for a wrong name.
template <class T>
CLI::Option* add_choice(CLI::App& app, const char* name, T& value, T (*parse)(std::string_view),
                        std::string_view (*spell)(T), const char* help) {
  const auto check = [parse](const std::string& text) {
    try {
      parse(text);
      return std::string();
    } catch (const Error& error) {
      const std::string found = error.what();
      const std::size_t quote = found.find('\'');  // what comes before it is the option, which is named already
      return quote == std::string::npos ? found : found.substr(quote);
    }
  };
  return app
      .add_option_function<std::string>(
          name, [&value, parse](const std::string& text) { value = parse(text); }, help)
      ->default_str(std::string(spell(value)))
      ->type_name("NAME")
      ->check(CLI::Validator(check, ""));
}

}  // namespace subquad::lra
