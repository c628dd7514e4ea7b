#include "subquad/examples/inspect/parts.h"

#include <cmath>
#include <iomanip>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/inspect/curves.h"

namespace subquad::inspect {

namespace {

Json points(const std::vector<std::array<double, 2>>& all) {
  Json list = Json::array();
  for (const auto& [x, y] : all)
    if (std::isfinite(x) && std::isfinite(y)) list.push_back({number(x), number(y)});
  return list;
}

Json chart_record(const Chart& chart) {
  Json record = {{"title", chart.title}, {"about", chart.about}, {"x", chart.x},          {"y", chart.y},
                 {"log", chart.log},     {"logX", chart.log_x},  {"lines", Json::array()}};
  for (const Line& line : chart.lines) record["lines"].push_back(curve_record(line, chart.log_x));
  if (!chart.marks.empty()) {
    record["marks"] = points(chart.marks);
    record["markName"] = chart.mark_name;
  }
  if (!chart.forced.empty()) {
    record["forced"] = points(chart.forced);
    record["forcedName"] = chart.forced_name;
  }
  return record;
}

}  // namespace

Line limit(const std::string& name, double value, Index last) {
  return {.name = name, .points = {{1, value}, {static_cast<double>(last), value}}, .limit = true};
}

Line line(const std::string& name, const std::vector<double>& values, double first) {
  Line made{name, {}};
  for (std::size_t i = 0; i < values.size(); ++i) made.points.push_back({first + static_cast<double>(i), values[i]});
  return made;
}

Json text(const std::string& text) {
  return {{"type", "text"}, {"text", text}};
}

Json table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  return {{"type", "table"}, {"head", head}, {"rows", rows}};
}

Json charts(const std::vector<Chart>& charts) {
  Json records = Json::array();
  for (const Chart& chart : charts) records.push_back(chart_record(chart));
  return {{"type", "charts"}, {"charts", records}};
}

Json bars(const std::vector<Bar>& bars) {
  Json records = Json::array();
  for (const Bar& bar : bars) records.push_back({{"name", bar.name}, {"value", number(bar.value)}});
  return {{"type", "bars"}, {"bars", records}};
}

Json picture_groups(const std::vector<std::vector<Index>>& groups, const std::string& about, bool row) {
  return {{"type", "matrices"}, {"about", about}, {"groups", groups}, {"row", row}};
}

Json tokens(const std::vector<double>& values, const std::string& unit) {
  Json list = Json::array();
  for (const double value : values) list.push_back(number(value));
  return {{"type", "tokens"}, {"values", list}, {"unit", unit}};
}

Json choice(const std::string& label, const std::vector<Choice>& items) {
  Json records = Json::array();
  for (const Choice& item : items) records.push_back({{"name", item.name}, {"parts", item.parts}});
  return {{"type", "choice"}, {"label", label}, {"items", records}};
}

Json section(const std::string& title, const std::string& about, const std::vector<Json>& parts) {
  return {{"title", title}, {"about", about}, {"parts", parts}};
}

Json number(double value, int count) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::round(value) && std::abs(value) < 1e15) return static_cast<std::int64_t>(value);
  std::ostringstream digits;
  digits << std::setprecision(count) << value;
  return std::stod(digits.str());
}

std::string digits(double value, int count) {
  std::ostringstream text;
  const double size = std::abs(value);
  if (size >= std::pow(10, count) && size < 1e7)
    text << std::fixed << std::setprecision(0) << value;
  else
    text << std::setprecision(count) << value;
  return text.str();
}

std::string with_unit(double value) {
  for (const auto& [size, unit] : {std::pair{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}})
    if (value >= size) return digits(value / size) + unit;
  return digits(value) + " ";
}

std::string time_text(double seconds) {
  if (seconds >= 1) return digits(seconds) + " s";
  return seconds >= 1e-3 ? digits(1e3 * seconds) + " ms" : digits(1e6 * seconds) + " µs";
}

std::string share(double value) {
  return digits(100 * value) + " %";
}

std::string count_of(Index n, const char* thing) {
  return cat(n, " ", thing, n == 1 ? "" : "s");
}

}  // namespace subquad::inspect
