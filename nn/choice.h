// One of a few named things, as options, presets and files spell it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "subquad/core/error.h"

namespace subquad::nn {

template <class T, std::size_t count>
using Choices = std::array<std::pair<std::string_view, T>, count>;

template <class T, std::size_t count>
std::string spell(const Choices<T, count>& choices) {  // "a, b, c"
  std::string all;
  for (const auto& [name, value] : choices) all += (all.empty() ? "" : ", ") + std::string(name);
  return all;
}

// Error "what: 'x', expected one of a, b, c" when no choice has the name.
template <class T, std::size_t count>
const T& choose(const char* what, const Choices<T, count>& choices, std::string_view wanted) {
  for (const auto& [name, value] : choices)
    if (name == wanted) return value;
  throw Error(cat(what, ": '", wanted, "', expected one of ", spell(choices)));
}

template <class T, std::size_t count>
std::string_view name_of(const Choices<T, count>& choices, const T& wanted) {
  for (const auto& [name, value] : choices)
    if (value == wanted) return name;
  throw InternalError("name_of: a value without a name");
}

}  // namespace subquad::nn
