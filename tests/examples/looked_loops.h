// Pages of inspect_attention against plain loops in double: matrices as rows, compared with pictures and curves.
#pragma once

#include <string>
#include <vector>

#include "subquad/tests/examples/looked_page.h"

namespace subquad::test::inspected {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

Rows rows_of(const Tensor& matrix);
Row row_of(const Tensor& vector);
Rows product(const Rows& a, const Rows& b);

// x W + b
Rows mapped(const Rows& x, const Tensor& weight, const Row& bias);

// Of the one layer, by the end of its name.
Tensor parameter(const Subject& subject, const std::string& name);

// How far cells are from a matrix whose rows and columns are moved round so far: a share of the colour scale, which
// goes up to the largest magnitude.
double apart_of_scale(const std::vector<double>& cells, const Rows& expected, std::size_t down = 0,
                      std::size_t right = 0);

// At most 1e-3 of the colour scale; and the matrix moved by a row or a column would be seen.
void check_cells(const Json& picture, const Rows& expected);

// A picture of what the mechanism decided.
const Json& decided(const Looked& page, Index head, const std::string& id);

// At most 1e-3 of the largest magnitude; value i of `expected` at i, or at i - n where the curve begins below 0.
void check_curve(const Json& line, const Row& expected);

}  // namespace subquad::test::inspected
