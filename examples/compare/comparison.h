// All that one run of compare_attention found, and how its rows are looked up.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "subquad/examples/compare/errors.h"
#include "subquad/examples/compare/growth.h"

namespace subquad::compare {

struct Comparison {
  Index width = 0;  // E of the head that errors are measured on
  std::uint64_t seed = 0;
  Index fit_steps = 0;
  Index keys = 0;  // the budget of the table and of the growth of errors
  std::vector<ErrorRow> errors;
  GrowthOptions growth_options;
  std::vector<GrowthCurve> growth;  // of all kinds; empty where none was measured
};

template <class T>
void add_once(std::vector<T>& all, const T& one) {
  if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
}

std::vector<std::string> input_names(const Comparison& c);  // as they come
std::vector<double> lengths_of(const Comparison& c);        // rising, of the errors
std::vector<double> budgets_of(const Comparison& c);        // rising, in keys
Index largest_length(const Comparison& c);

// Is it of the one budget that the table shows, or of a way that has none?
bool has_budget(const Comparison& c, const ErrorRow& row);

// Of the fitted products: does it have about log2 N factors?
bool is_whole_chain(const ErrorRow& row);

// nullptr where there is none.
const ErrorRow* find_row(const Comparison& c, const std::string& inputs, Index positions, const std::string& way,
                         const std::string& budget);

std::string fixed_text(double number, int digits);  // "-" for a NaN
std::string exponent_text(const PowerLaw& law);  // "1.97 (4 %)": the exponent, and within how much of the fit all lies

}  // namespace subquad::compare
