#include "subquad/examples/compare/comparison.h"

#include <cmath>
#include <iomanip>
#include <sstream>

#include "subquad/nn/attention/paramixer.h"

namespace subquad::compare {

std::vector<std::string> input_names(const Comparison& c) {
  std::vector<std::string> names;
  for (const ErrorRow& row : c.errors) add_once(names, row.inputs);
  return names;
}

Index largest_length(const Comparison& c) {
  Index largest = 0;
  for (const ErrorRow& row : c.errors) largest = std::max(largest, row.positions);
  return largest;
}

bool has_budget(const Comparison& c, const ErrorRow& row) {
  return row.keys == 0 || row.keys == c.keys;
}

const ErrorRow* find_row(const Comparison& c, const std::string& inputs, Index positions, const std::string& way,
                         const std::string& budget) {
  for (const ErrorRow& row : c.errors)
    if (row.inputs == inputs && row.positions == positions && row.way == way && row.budget == budget) return &row;
  return nullptr;
}

std::vector<double> budgets_of(const Comparison& c) {
  std::vector<double> budgets;
  for (const ErrorRow& row : c.errors)
    if (row.keys > 0) add_once(budgets, static_cast<double>(row.keys));
  std::sort(budgets.begin(), budgets.end());
  return budgets;
}

bool is_whole_chain(const ErrorRow& row) {
  return row.budget.starts_with(cat(nn::factor_count(row.positions, nn::FactorRule::ceil), " factors"));
}

std::vector<double> lengths_of(const Comparison& c) {
  std::vector<double> lengths;
  for (const ErrorRow& row : c.errors) add_once(lengths, static_cast<double>(row.positions));
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

std::string fixed_text(double number, int digits) {
  if (std::isnan(number)) return "-";
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << number;
  return out.str();
}

std::string exponent_text(const PowerLaw& law) {
  const std::string exponent = fixed_text(law.exponent, 2);
  return std::isnan(law.within) ? exponent : cat(exponent, " (", fixed_text(100 * law.within, 0), " %)");
}

}  // namespace subquad::compare
