#include "subquad/bench/kernel/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "subquad/core/error.h"

namespace subquad::bench {

namespace {

template <class All>  // const or not
auto* find(All& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Setting& s) { return s.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace

Settings::Settings(std::string op, std::vector<Setting> known) : op_(std::move(op)), all_(std::move(known)) {}

void Settings::set(std::string_view name, std::string value) {
  Setting* setting = find(all_, name);
  if (setting == nullptr) {
    std::string names;
    for (const Setting& known : all_) names += " --" + known.name;
    throw Error(cat(op_, ": there is no --", name, "; there are", names));
  }
  setting->value = std::move(value);
}

bool Settings::has(std::string_view name) const {
  return find(all_, name) != nullptr;
}

const std::string& Settings::text(std::string_view name) const {
  const Setting* setting = find(all_, name);
  if (setting == nullptr) throw InternalError(cat(op_, ": asks for the setting ", name, ", which it does not declare"));
  return setting->value;
}

Index Settings::size(std::string_view name, Index least) const {
  const std::string& value = text(name);
  Index size = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), size);
  if (error != std::errc() || end != value.data() + value.size() || size < least)
    throw Error(cat(op_, ": --", name, " is '", value, "', expected a whole number of ", least, " or more"));
  return size;
}

double Settings::number(std::string_view name) const {
  const std::string& value = text(name);
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(number) || number < 0)
    throw Error(cat(op_, ": --", name, " is '", value, "', expected a number of 0 or more"));
  return number;
}

bool Settings::flag(std::string_view name) const {
  const std::string& value = text(name);
  if (value != "true" && value != "false")
    throw Error(cat(op_, ": --", name, " is '", value, "', expected true or false"));
  return value == "true";
}

}  // namespace subquad::bench
