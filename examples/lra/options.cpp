#include "subquad/examples/lra/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <iostream>
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

// What the option's checks say of a text; "" when they agree.
std::string complaint(CLI::Option& option, std::string text) {
  for (int i = 0;; ++i) {
    const CLI::Validator* check = nullptr;
    try {
      check = option.get_validator(i);
    } catch (const CLI::OptionNotFound&) {
      return "";
    }
    if (std::string found = (*check)(text); !found.empty()) return found;
  }
}

// What is wrong with "key = value" in a file; "" when nothing is.
std::string entry_complaint(CLI::App& app, const std::string& key, const std::string& value) {
  const std::vector<std::string> names = option_names(app, true);
  if (std::find(names.begin(), names.end(), key) == names.end())
    return cat("unknown key '", key, "'", nearest_hint(key, names));
  CLI::Option& option = *app.get_option("--" + key);
  const bool flag = option.get_expected_min() == 0;
  if (flag && value != "true" && value != "false") return cat(key, ": ", value, ", expected true or false");
  const std::string found = complaint(option, value);
  return found.empty() ? found : cat(key, ": ", found);
}

// CLI11's own reader refuses unknown keys and wrong values without naming the file or a likely key, so they are looked
// for here.
class CheckedToml : public CLI::ConfigTOML {
 public:
  explicit CheckedToml(CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::vector<CLI::ConfigItem> entries = CLI::ConfigTOML::from_config(in);
    for (const CLI::ConfigItem& item : entries) {
      if (!item.parents.empty())
        fail(cat("[", CLI::detail::join(item.parents, "."), "]: sections are not used; keys stand alone"));
      if (item.inputs.size() != 1) fail(cat(item.name, ": ", item.inputs.size(), " values, expected one"));
      if (const std::string found = entry_complaint(app_, item.name, item.inputs.front()); !found.empty()) fail(found);
    }
    return entries;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw OptionError(cat(app_.get_config_ptr()->as<std::string>(), ": ", what));
  }

  CLI::App& app_;
};

bool stands_in(const std::vector<std::string>& args, const std::string& option) {
  return std::any_of(args.begin(), args.end(),
                     [&](const std::string& arg) { return arg == option || arg.starts_with(option + "="); });
}

// The arguments with "--KEY=VALUE" for each "--set KEY=VALUE".
std::vector<std::string> without_set(CLI::App& app, const std::vector<std::string>& args) {
  std::vector<std::string> all;
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const bool joined = args[i].starts_with("--set=");
    if (!joined && (args[i] != "--set" || i + 1 == args.size())) {
      all.push_back(args[i]);
      continue;
    }
    const std::string entry = joined ? args[i].substr(6) : args[++i];
    const auto fail = [&](const std::string& what) { throw OptionError(cat("--set ", entry, ": ", what)); };
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos) fail("there is no '=', expected KEY=VALUE");
    const std::string key = entry.substr(0, equals), value = entry.substr(equals + 1);
    if (const std::string found = entry_complaint(app, key, value); !found.empty()) fail(found);
    if (stands_in(args, "--" + key)) fail(cat("--", key, " is given, too"));
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) fail("the key is set twice");
    keys.push_back(key);
    all.push_back(cat("--", key, "=", value));  // in one word: a flag takes no second one
  }
  return all;
}

void refuse_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return;
  const std::string& first = extras.front();
  if (!first.starts_with("--")) throw OptionError(cat("unexpected argument '", first, "'"));
  const std::string name = first.substr(2, first.find('=') - 2);
  throw OptionError(cat("unknown option --", name, nearest_hint(name, option_names(app, false), "--")));
}

void refuse_repeated(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options())
    if (option->count() > 1 && option->get_items_expected_max() == 1)
      throw OptionError(cat(option->get_name(), ": given ", option->count(), " times"));
}

// "--steps N   Optimiser steps of the whole run [5000]"
class Help : public CLI::Formatter {
 public:
  Help() { column_width(36); }

  std::string make_option_opts(const CLI::Option* option) const override {
    const bool flag = option->get_type_size() == 0;
    return cat(flag ? "" : " " + option->get_type_name(), option->get_required() ? " (required)" : "");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string value = option->get_default_str();
    return option->get_description() + (value.empty() ? "" : cat(" [", value, "]"));
  }
};

// "512,256": "512" and "256"; every comma stands between two words, if empty ones.
std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> found;
  std::size_t begin = 0;
  for (std::size_t comma; (comma = text.find(',', begin)) != std::string::npos; begin = comma + 1)
    found.push_back(text.substr(begin, comma - begin));
  found.push_back(text.substr(begin));
  return found;
}

// A check of a number, which says what was `expected`.
CLI::Validator number_check(const std::string& expected, const std::function<bool(double)>& good) {
  const auto check = [=](const std::string& text) {
    double value = 0;
    const bool accepted = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && good(value);
    return accepted ? std::string() : cat(text.empty() ? "''" : text, ", expected a number ", expected);
  };
  return CLI::Validator(check, "");
}

}  // namespace

std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& names) {
  std::vector<std::string> nearest;
  std::size_t smallest = name.size();
  for (const std::string& candidate : names) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance >= name.size() || distance > smallest || 2 * distance > candidate.size()) continue;
    if (distance < smallest) nearest.clear();
    nearest.push_back(candidate);
    smallest = distance;
  }
  return nearest;
}

std::string nearest_hint(std::string_view name, const std::vector<std::string>& names, const char* lead) {
  std::string hint;
  for (const std::string& nearest : nearest_names(name, names))
    hint += cat(hint.empty() ? "; the nearest is " : " or ", lead, nearest);
  return hint;
}

void add_set_option(CLI::App& app) {
  app.add_option("--set", "Any key of a preset, as --KEY VALUE sets it; may be given often, but each key once")
      ->type_name("KEY=VALUE")
      ->configurable(false);
}

bool parse_options(CLI::App& app, const std::vector<std::string>& args) {
  app.allow_extras();  // refused below, in our words
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.config_formatter(std::make_shared<CheckedToml>(app));
  app.formatter(std::make_shared<Help>());
  try {
    std::vector<std::string> all = app.get_option_no_throw("--set") != nullptr ? without_set(app, args) : args;
    std::reverse(all.begin(), all.end());  // CLI11 takes them from the back
    app.parse(std::move(all));
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return false;
  } catch (const CLI::ParseError& error) {
    refuse_extras(app);  // a misspelled option is the likelier cause of a missing one
    refuse_repeated(app);
    throw OptionError(error.what());
  }
  refuse_extras(app);
  return true;
}

CLI::Validator at_least(double least) {
  return number_check(cat("at least ", least), [=](double value) { return value >= least; });
}

CLI::Validator above(double bound) {
  return number_check(cat("above ", bound), [=](double value) { return value > bound; });
}

CLI::Validator between(double least, double most) {
  return number_check(cat("between ", least, " and ", most),
                      [=](double value) { return value >= least && value <= most; });
}

CLI::Validator fraction() {
  return number_check("at least 0 and below 1", [](double value) { return value >= 0 && value < 1; });
}

CLI::Validator whole(std::uint64_t least, std::uint64_t most) {
  const auto check = [=](const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool plain = error == std::errc() && std::to_string(value) == text;
    if (plain && value >= least && value <= most) return std::string();
    return cat(text.empty() ? "''" : text, ", expected a whole number between ", least, " and ", most);
  };
  return CLI::Validator(check, "");
}

CLI::Validator whole_or_minus_one(std::uint64_t least, std::uint64_t most) {
  const CLI::Validator number = whole(least, most);
  const auto check = [=](std::string text) {
    if (text == "-1") return std::string();
    const std::string found = number(text);
    return found.empty() ? found : found + ", or -1";
  };
  return CLI::Validator(check, "");
}

CLI::Validator not_empty() {
  const auto check = [](const std::string& text) { return std::string(text.empty() ? "the name is empty" : ""); };
  return CLI::Validator(check, "");
}

CLI::Validator available(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  const auto check = [=](const std::string& text) {
    const bool found = std::find(names.begin(), names.end(), text) != names.end();
    return found ? std::string() : cat("'", text, "' is not in this build; available: ", list);
  };
  return CLI::Validator(check, "");
}

OptionGroup::OptionGroup(CLI::App& app, const std::string& title)
    : app_(app), before_(app.option_defaults()->get_group()) {
  app.option_defaults()->group(title);
}

OptionGroup::~OptionGroup() {
  app_.option_defaults()->group(before_);
}

std::vector<UnreadOption> unread_group(const CLI::App& app, const std::string& title, const std::string& where) {
  std::vector<UnreadOption> unread;
  for (const CLI::Option* option : app.get_options())
    if (option->get_group() == title) unread.push_back({option->get_name(), where});
  return unread;
}

void refuse_unread(const CLI::App& app, const std::vector<UnreadOption>& unread) {
  for (const UnreadOption& one : unread) {
    const CLI::Option* option = app.get_option(one.name);
    if (option->count() == 0) continue;
    const std::string value = option->results().front();
    const bool flag = option->get_expected_min() == 0;
    if (value != (flag ? "false" : option->get_default_str()))
      throw OptionError(cat(option->get_name(), flag ? "" : " " + value, " belongs to ", one.where));
  }
}

CLI::Option* add_number(CLI::App& app, const char* name, double& value, const CLI::Validator& check, const char* help) {
  return app.add_option(name, value, help)->type_name("X")->check(check);
}

CLI::Option* add_wholes(CLI::App& app, const char* name, std::vector<Index>& values, std::uint64_t least,
                        std::uint64_t most, const char* help) {
  const CLI::Validator one = whole(least, most);
  const auto check = [=](const std::string& text) {
    for (const std::string& word : words(text)) {
      std::string copy = word;
      if (const std::string found = one(copy); !found.empty()) return found;
    }
    return std::string();
  };
  const auto take = [&values](const std::string& text) {
    values.clear();
    for (const std::string& word : words(text)) values.push_back(std::stoll(word));
  };
  return app.add_option_function<std::string>(name, take, help)
      ->default_str(CLI::detail::join(values, ","))
      ->type_name("N,N...")
      ->check(CLI::Validator(check, ""));
}

CLI::Option* add_truth(CLI::App& app, const char* name, bool& value, const char* help) {
  const auto check = [](const std::string& text) {
    return text == "true" || text == "false" ? std::string() : cat("'", text, "', expected true or false");
  };
  return app.add_option(name, value, help)
      ->default_str(value ? "true" : "false")
      ->type_name("true|false")
      ->check(CLI::Validator(check, ""));
}

}  // namespace subquad::lra
