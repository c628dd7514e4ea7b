#include "subquad/examples/lra/options.h"

#include <algorithm>
#include <iostream>
#include <limits>
#include <memory>
#include <numeric>

namespace subquad::lra {

namespace {

// Levenshtein's distance; row[j] is the distance between the prefix of a seen so far and the first j letters of b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// Long names without the dashes; `in_file` leaves out those that a file may not set.
std::vector<std::string> option_names(const CLI::App& app, bool in_file) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    if (!option->get_lnames().empty() && (!in_file || option->get_configurable()))
      names.push_back(option->get_lnames().front());
  return names;
}

// CLI11's own reader refuses unknown keys without naming the file or a likely key, so they are looked for here.
class CheckedToml : public CLI::ConfigTOML {
 public:
  explicit CheckedToml(const CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::vector<CLI::ConfigItem> entries = CLI::ConfigTOML::from_config(in);
    const std::vector<std::string> names = option_names(app_, true);
    for (const CLI::ConfigItem& item : entries) {
      const std::string key = item.parents.empty() ? item.name : item.fullname();
      if (std::find(names.begin(), names.end(), key) == names.end())
        throw OptionError(
            cat(app_.get_config_ptr()->as<std::string>(), ": unknown key '", key, "'", nearest_hint(item.name, names)));
    }
    return entries;
  }

 private:
  const CLI::App& app_;
};

void refuse_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return;
  const std::string& first = extras.front();
  if (!first.starts_with("--")) throw OptionError(cat(app.get_name(), ": unexpected argument '", first, "'"));
  const std::string name = first.substr(2, first.find('=') - 2);
  throw OptionError(
      cat(app.get_name(), ": unknown option --", name, nearest_hint(name, option_names(app, false), "--")));
}

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& names) {
  std::string nearest;
  std::size_t smallest = name.size();
  for (const std::string& candidate : names) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < smallest && 2 * distance <= candidate.size()) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}

std::string nearest_hint(std::string_view name, const std::vector<std::string>& names, const char* lead) {
  const std::string nearest = nearest_name(name, names);
  return nearest.empty() ? "" : cat("; the nearest is ", lead, nearest);
}

bool parse_options(CLI::App& app, const std::vector<std::string>& args) {
  app.allow_extras();  // refused below, in our words
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.config_formatter(std::make_shared<CheckedToml>(app));
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // CLI11 takes them from the back
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return false;
  } catch (const CLI::ParseError& error) {
    refuse_extras(app);  // a misspelled option is the likelier cause of a missing one
    throw OptionError(cat(app.get_name(), ": ", error.what()));
  }
  refuse_extras(app);
  return true;
}

CLI::Validator at_least(double least) {
  return between(least, std::numeric_limits<double>::infinity());
}

CLI::Validator between(double least, double most) {
  const std::string range =
      most == std::numeric_limits<double>::infinity() ? cat("at least ", least) : cat("between ", least, " and ", most);
  const auto check = [=](const std::string& text) {
    double value = 0;
    const bool good = CLI::detail::lexical_cast(text, value) && value >= least && value <= most;
    return good ? std::string() : cat(text, ", expected a number ", range);
  };
  return CLI::Validator(check, range);
}

std::vector<std::string> arguments(int argc, char** argv) {
  return std::vector<std::string>(argv + std::min(argc, 1), argv + argc);
}

}  // namespace subquad::lra
