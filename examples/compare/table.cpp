#include "subquad/examples/compare/table.h"

#include <cmath>

#include "subquad/examples/compare/log_chart.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::compare {

namespace {

// An error with as many decimals as a reader compares; tiny ones as powers of ten.
std::string error_text(double error) {
  if (std::isnan(error) || error >= 0.001) return fixed_text(error, 3);
  return error == 0 ? "0" : lra::number_text(error, 1);
}

// Columns as wide as their widest cell, the first `left` of them flush left.
class TextTable {
 public:
  explicit TextTable(std::size_t left) : left_(left) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  std::string text() const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows_) {
      std::string line = "  ";
      for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string room(widths[i] - row[i].size(), ' ');
        line += (i < left_ ? row[i] + room : room + row[i]) + "  ";
      }
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
  }

 private:
  std::size_t left_;
  std::vector<std::vector<std::string>> rows_;
};

std::string error_table(const Comparison& c) {
  const Index positions = largest_length(c);
  const std::vector<std::string> inputs = input_names(c);
  TextTable text(2);
  std::vector<std::string> head = {"", "", "", "error of A"};
  head.resize(3 + inputs.size());
  head.push_back("error of A v");
  text.add(head);
  std::vector<std::string> names = {"way", "budget", "flops/query"};
  for (int twice = 0; twice < 2; ++twice) names.insert(names.end(), inputs.begin(), inputs.end());
  text.add(names);
  std::vector<std::pair<std::string, std::string>> seen;
  for (const ErrorRow& row : c.errors) {
    if (row.positions != positions || !has_budget(c, row)) continue;
    const std::pair key(row.way, row.budget);
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) continue;
    seen.push_back(key);
    std::vector<std::string> cells = {row.way, row.budget, lra::grouped(std::llround(row.flops))};
    for (const auto value : {&ErrorRow::matrix_error, &ErrorRow::output_error})
      for (const std::string& kind : inputs) {
        const ErrorRow* found = find_row(c, kind, positions, row.way, row.budget);
        cells.push_back(found == nullptr ? "-" : error_text(found->*value));
      }
    text.add(cells);
  }
  return cat("Errors against exact softmax, relative Frobenius norms, N = ", lra::grouped(positions), ", one head of ",
             c.width, " features, budgets of about ", c.keys, " keys a query\n", text.text());
}

std::string mass_table(const Comparison& c) {
  const Index positions = largest_length(c);
  const std::vector<std::string> inputs = input_names(c);
  TextTable text(2);
  std::vector<std::string> names = {"choice", "budget"};
  names.insert(names.end(), inputs.begin(), inputs.end());
  text.add(names);
  std::vector<std::string> most;
  for (const ErrorRow& row : c.errors) {
    if (row.inputs != inputs.front() || row.positions != positions || !has_budget(c, row) || !row.mass) continue;
    std::vector<std::string> cells = {row.way, row.budget}, bound = {"  no choice of as many: above", ""};
    for (const std::string& kind : inputs) {
      const ErrorRow* found = find_row(c, kind, positions, row.way, row.budget);
      cells.push_back(found == nullptr ? "-" : fixed_text(*found->mass, 3));
      bound.push_back(found == nullptr || !found->most ? "-" : fixed_text(*found->most, 3));
    }
    text.add(cells);
    if (row.most) text.add(bound);
  }
  return cat("Softmax mass on the keys that are seen\n", text.text());
}

std::string growth_table(const Comparison& c) {
  TextTable text(2);
  text.add({"attention", "budget", "forward", "N^p (within)", "with backward", "N^p (within)", "memory", "N^p (within)",
            "with backward", "N^p (within)"});
  Index largest = 0;
  for (const GrowthCurve& curve : c.growth) {
    const GrowthPoint& last = curve.points.back();
    largest = last.positions;
    text.add({curve.kind, curve.budget, tick_text(last.forward, Measure::seconds),
              exponent_text(curve.exponents.forward), tick_text(last.both, Measure::seconds),
              exponent_text(curve.exponents.both), tick_text(last.forward_bytes, Measure::bytes),
              exponent_text(curve.exponents.forward_bytes), tick_text(last.both_bytes, Measure::bytes),
              exponent_text(curve.exponents.both_bytes)});
  }
  return cat("Time of one thread and peak memory of a module on one sample of N = ", lra::grouped(largest), ", ",
             c.growth_options.width,
             " features, default options; N^p fitted to the largest three sizes, which lie within so many per cent of "
             "the fit\n",
             text.text());
}

}  // namespace

std::string table(const Comparison& c) {
  std::string out = cat(error_table(c), "\n", mass_table(c));
  if (!c.growth.empty()) out += cat("\n", growth_table(c));
  return out;
}

}  // namespace subquad::compare
