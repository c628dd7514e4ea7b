#include "subquad/tests/examples/looked_loops.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

namespace subquad::test::inspected {

namespace {

// The numbers of a curve, each at its place.
Row curve_of(const Json& line, std::size_t count) {
  Row values(count);
  const auto n = static_cast<Index>(count);
  REQUIRE_EQ(line.at("values").size(), count);
  for (Index i = 0; i < n; ++i)
    values[static_cast<std::size_t>((line.at("first").get<Index>() + i + n) % n)] =
        line.at("values")[static_cast<std::size_t>(i)].get<double>();
  return values;
}

}  // namespace

Rows rows_of(const Tensor& matrix) {
  const Tensor all = matrix.to(kFloat64).contiguous();
  Rows rows;
  for (Index i = 0; i < all.dim(0); ++i) {
    const Tensor row = all.select(0, i);
    rows.emplace_back(row.data<double>(), row.data<double>() + row.size());
  }
  return rows;
}

Row row_of(const Tensor& vector) {
  return rows_of(vector.reshape({1, vector.size()}))[0];
}

double apart_of_scale(const std::vector<double>& cells, const Rows& expected, std::size_t down, std::size_t right) {
  double largest = 0, apart = 0;
  for (std::size_t r = 0; r < expected.size(); ++r)
    for (std::size_t c = 0; c < expected[r].size(); ++c) {
      const Row& row = expected[(r + down) % expected.size()];
      largest = std::max(largest, std::abs(row[c]));
      apart = std::max(apart, std::abs(cells[r * row.size() + c] - row[(c + right) % row.size()]));
    }
  return apart / largest;
}

void check_cells(const Json& picture, const Rows& expected) {
  CAPTURE(picture.at("id"));
  REQUIRE_EQ(picture.at("rows").at("count"), expected.size());
  REQUIRE_EQ(picture.at("columns").at("count"), expected[0].size());
  const std::vector<double> cells = cells_of(picture.at("cells")[0]);
  REQUIRE_EQ(cells.size(), expected.size() * expected[0].size());
  CHECK_LE(apart_of_scale(cells, expected, 0, 0), 1e-3);
  if (expected.size() > 1) CHECK_GT(apart_of_scale(cells, expected, 1, 0), 1e-2);
  if (expected[0].size() > 1) CHECK_GT(apart_of_scale(cells, expected, 0, 1), 1e-2);
}

const Json& decided(const Looked& page, Index head, const std::string& id) {
  const Json* picture = decided_picture(page.data, page.head(head), id);
  REQUIRE(picture != nullptr);
  return *picture;
}

void check_curve(const Json& line, const Row& expected) {
  const Row found = curve_of(line, expected.size());
  double largest = 0;
  for (const double x : expected) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < found.size(); ++i) CHECK_LE(std::abs(found[i] - expected[i]), 1e-3 * largest);
}

Tensor parameter(const Subject& subject, const std::string& name) {
  std::vector<Variable> all = subject.learner->model().parameters();
  const auto found = std::ranges::find_if(all, [&](const Variable& p) { return p.name().ends_with("." + name); });
  REQUIRE(found != all.end());
  return found->value();
}

Rows mapped(const Rows& x, const Tensor& weight, const Row& bias) {
  const Rows w = rows_of(weight);
  Rows out(x.size(), bias);
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t d = 0; d < w.size(); ++d)
      for (std::size_t c = 0; c < bias.size(); ++c) out[i][c] += x[i][d] * w[d][c];
  return out;
}

Rows product(const Rows& a, const Rows& b) {
  Rows made(a.size(), Row(b[0].size()));
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < b.size(); ++k)
      for (std::size_t j = 0; j < b[k].size(); ++j) made[i][j] += a[i][k] * b[k][j];
  return made;
}

}  // namespace subquad::test::inspected
