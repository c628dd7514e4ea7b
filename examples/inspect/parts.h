// What a page is made of, as the JSON that examples/inspect/page/parts.js draws.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::inspect {

using Json = nlohmann::ordered_json;

struct Line {
  std::string name;
  std::vector<std::array<double, 2>> points;
  bool limit = false;  // it stands for no curve, but for what others are measured by
};

// values[i] at i + first.
Line line(const std::string& name, const std::vector<double>& values, double first = 0);

struct Chart {
  std::string title = {}, about = {};
  std::string x = {}, y = {};  // what the axes count
  bool log = false;            // y in powers of ten; values that are not positive are left out
  bool log_x = false;          // the same of x
  std::vector<Line> lines = {};
  std::vector<std::array<double, 2>> marks = {};  // rings
  std::string mark_name = {};
  std::vector<std::array<double, 2>> forced = {};  // squares
  std::string forced_name = {};
};

// A level from x = 1 to `last`.
Line limit(const std::string& name, double value, Index last);

struct Bar {
  std::string name;
  double value = 0;
};

// Parts of a section. `pictures` are numbers of Pictures: those of a group zoom and point together; with `row` the
// strongest keys of the query that is pointed at stand below, of the first group's first two.
Json text(const std::string& text);
Json table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);
Json charts(const std::vector<Chart>& charts);
Json bars(const std::vector<Bar>& bars);
Json picture_groups(const std::vector<std::vector<Index>>& groups, const std::string& about = "", bool row = false);
Json tokens(const std::vector<double>& values, const std::string& unit);  // a number for each position

// One of several lists of parts at a time, the first one at first.
struct Choice {
  std::string name;
  std::vector<Json> parts;
};
Json choice(const std::string& label, const std::vector<Choice>& items);

Json section(const std::string& title, const std::string& about, const std::vector<Json>& parts);

// With few significant digits, and so in few bytes. Null for what is not finite.
Json number(double value, int digits = 6);

std::string digits(double value, int count = 3);   // "0.0123", "1.5e-07"
std::string with_unit(double value);               // "12.3 M"
std::string time_text(double seconds);             // "12.3 ms"
std::string share(double value);                   // "12.3 %"
std::string count_of(Index n, const char* thing);  // "1 token", "2 tokens"

}  // namespace subquad::inspect
