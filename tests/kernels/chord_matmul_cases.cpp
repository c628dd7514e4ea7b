#include "subquad/tests/kernels/chord_matmul_cases.h"

namespace subquad::test::chord_cases {

using kernels::LinkRule;
using kernels::Links;
using kernels::MixResidual;

namespace {

Index length_of(const ChordCase& c, Index b) {
  return c.lengths.empty() ? c.positions : c.lengths[static_cast<std::size_t>(b)];
}

// Written out again, so that the kernel's own arithmetic is judged; -1 drops out.
Index column_of(const Links& links, Index row, Index k, Index n) {
  const Index offset = links.offsets[static_cast<std::size_t>(k)];
  if (links.rule == LinkRule::flip) return (row ^ offset) < n ? row ^ offset : -1;
  Index column = (row + offset) % n;
  return column < 0 ? column + n : column;
}

const Links& factor(const ChordCase& c, Index m) {
  return c.links[static_cast<std::size_t>(m)];
}

Index weight_index(const ChordCase& c, Index m, Index b, Index i, Index k) {
  const Index sample = c.shared ? m : m * c.batch + b;
  return (sample * c.positions + i) * factor(c, 0).count() + k;
}

using Matrix = std::vector<std::vector<double>>;

Matrix rows_of(const Tensor& values, Index b, Index n) {
  const Tensor all = doubles(values);
  Matrix rows(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i)
    for (Index c = 0; c < all.dim(2); ++c) rows[static_cast<std::size_t>(i)].push_back(at(all, {b, i, c}));
  return rows;
}

Matrix dense_rows(const ChordCase& c, const Tensor& weights, Index m, Index b) {
  const auto n = static_cast<std::size_t>(length_of(c, b));
  const Tensor all = doubles(weights);
  Matrix matrix(n, std::vector<double>(n));
  for (std::size_t i = 0; i < n; ++i)
    for (Index k = 0; k < factor(c, m).count(); ++k) {
      const Index column = column_of(factor(c, m), static_cast<Index>(i), k, static_cast<Index>(n));
      if (column >= 0)
        matrix[i][static_cast<std::size_t>(column)] +=
            all.data<double>()[weight_index(c, m, b, static_cast<Index>(i), k)];
    }
  return matrix;
}

// W x, or W^T x.
Matrix product(const Matrix& w, const Matrix& x, bool transposed) {
  Matrix out(x.size(), std::vector<double>(x.empty() ? 0 : x[0].size()));
  for (std::size_t i = 0; i < w.size(); ++i)
    for (std::size_t j = 0; j < w.size(); ++j)
      for (std::size_t c = 0; c < out[i].size(); ++c) {
        if (transposed)
          out[j][c] += w[i][j] * x[i][c];
        else
          out[i][c] += w[i][j] * x[j][c];
      }
  return out;
}

void add_to(Matrix& sum, const Matrix& x) {
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t c = 0; c < x[i].size(); ++c) sum[i][c] += x[i][c];
}

void store(const Matrix& rows, Index b, Tensor& out) {
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t c = 0; c < rows[i].size(); ++c)
      out.data<double>()[(b * out.dim(1) + static_cast<Index>(i)) * out.dim(2) + static_cast<Index>(c)] = rows[i][c];
}

void slow_sample(const ChordCase& c, const Tensor& weights, const Tensor& values, const Tensor& dout, Index b,
                 Expected& want) {
  const Index n = length_of(c, b), factors = static_cast<Index>(c.links.size());
  std::vector<Matrix> v = {rows_of(values, b, n)};  // V_0 ... V_M
  for (Index m = 0; m < factors; ++m) {
    Matrix next = product(dense_rows(c, weights, m, b), v.back(), false);
    if (c.residual == MixResidual::running) add_to(next, v.back());
    if (c.residual == MixResidual::fixed) add_to(next, v.front());
    v.push_back(next);
  }
  store(v.back(), b, want.out);

  Matrix up = rows_of(dout, b, n);
  Matrix of_first = up;  // what V_0 gets beside the way through W_1
  for (auto& row : of_first) row.assign(row.size(), 0);
  for (Index m = factors - 1; m >= 0; --m) {
    const Matrix& from = v[static_cast<std::size_t>(m)];
    for (Index i = 0; i < n; ++i)
      for (Index k = 0; k < factor(c, m).count(); ++k) {
        const Index column = column_of(factor(c, m), i, k, n);
        double dot = 0;
        for (Index d = 0; column >= 0 && d < c.width; ++d)
          dot += up[static_cast<std::size_t>(i)][static_cast<std::size_t>(d)] *
                 from[static_cast<std::size_t>(column)][static_cast<std::size_t>(d)];
        want.dweights.data<double>()[weight_index(c, m, b, i, k)] += dot;
      }
    Matrix down = product(dense_rows(c, weights, m, b), up, true);
    if (c.residual == MixResidual::running) add_to(down, up);
    if (c.residual == MixResidual::fixed) add_to(of_first, up);
    up = down;
  }
  add_to(up, of_first);
  store(up, b, want.dvalues);
}

}  // namespace

std::vector<Links> chord(Index factors) {
  return std::vector<Links>(static_cast<std::size_t>(factors), kernels::chord_links(factors + 1));
}

std::vector<Links> cdil(Index factors, Index count) {
  std::vector<Links> links;
  for (Index m = 0; m < factors; ++m) links.push_back(kernels::cdil_links(Index{1} << m, count));
  return links;
}

std::vector<Links> butterfly(Index factors) {
  std::vector<Links> links;
  for (Index m = 0; m < factors; ++m) links.push_back(kernels::butterfly_links(Index{1} << m));
  return links;
}

Mask ChordCase::mask() const {
  return lengths.empty() ? Mask() : Mask::from_lengths(here(tensor(lengths, {batch})), positions);
}

Shape ChordCase::weights_shape() const {
  const Index factors = static_cast<Index>(links.size()), count = links.front().count();
  return shared ? Shape{factors, positions, count} : Shape{factors, batch, positions, count};
}

std::ostream& operator<<(std::ostream& out, const ChordCase& c) {
  return out << "chain of " << c.links.size() << " factors, " << c.links.front().count() << " links, values "
             << c.values_shape() << ", rule " << static_cast<int>(c.links.front().rule) << ", residual "
             << static_cast<int>(c.residual) << (c.shared ? ", shared" : "") << (c.lengths.empty() ? "" : ", masked");
}

std::vector<ChordCase> cases() {
  const auto far = [](Index a, Index b) { return std::vector<Links>{{LinkRule::circular, {0, a, b, -a}}}; };
  std::vector<ChordCase> all = {
      {.positions = 1, .links = chord(1)},
      {.positions = 2, .width = 1, .links = chord(1)},
      {.positions = 7, .width = 17, .links = far(-16, 1000003)},  // beyond N on both sides
      {.batch = 1, .positions = 31, .width = 64, .links = {kernels::chord_links(1)}},
      {.batch = 1, .positions = 300, .width = 96, .links = {kernels::cdil_links(3, 9)}},
      {.positions = 8, .width = 5, .links = cdil(3, 9)},  // coinciding columns
      {.positions = 6, .width = 100, .links = {{LinkRule::flip, {0, 1, 2, 5, 8}}}},
      {.batch = 1, .positions = 45, .width = 20, .links = butterfly(5)},
      {.positions = 23, .width = 100, .links = butterfly(6), .residual = MixResidual::fixed, .lengths = {23, 16}},
      {.positions = 11, .width = 20, .links = {{LinkRule::flip, {0, 3}}, {LinkRule::flip, {4, 0}}}},  // no pairs
      {.batch = 1, .positions = 600, .width = 3, .links = {kernels::cdil_links(120, 5), kernels::cdil_links(130, 5)}},
      {.batch = 0},
      {.positions = 0},
      {.width = 0},
      {.batch = 9, .positions = 130, .width = 33, .links = chord(3), .residual = MixResidual::running},
      {.batch = 3, .positions = 9, .width = 20, .links = {kernels::chord_links(20)}},
      {.positions = 5,
       .links = cdil(1, 301),
       .residual = MixResidual::running},  // more than a CUDA kernel's table holds
      {.positions = 5, .links = cdil(2, 301), .residual = MixResidual::fixed, .lengths = {5, 3}},
  };
  for (const MixResidual residual : {MixResidual::running, MixResidual::fixed, MixResidual::none})
    for (const auto& links : {chord(1), chord(2), chord(4), cdil(3, 3), cdil(5, 9), butterfly(1), butterfly(4)})
      for (const bool shared : {false, true}) {
        all.push_back({.positions = 13, .width = 6, .links = links, .residual = residual, .shared = shared});
        all.push_back({.batch = 4,
                       .positions = 13,
                       .width = 18,
                       .links = links,
                       .residual = residual,
                       .shared = shared,
                       .lengths = {13, 0, 5, 1}});
      }
  return all;
}

Expected slow_chain(const ChordCase& c, const Tensor& weights, const Tensor& values, const Tensor& dout) {
  Expected want{zeros(values.shape(), kFloat64, kCpu), zeros(weights.shape(), kFloat64, kCpu),
                zeros(values.shape(), kFloat64, kCpu)};
  for (Index b = 0; b < c.batch; ++b) slow_sample(c, weights, values, dout, b, want);
  return want;
}

Tensor dense_factor(const ChordCase& c, const Tensor& weights, Index m, Index b) {
  const Matrix rows = dense_rows(c, weights, m, b);
  Tensor out = zeros({1, length_of(c, b), length_of(c, b)}, kFloat64, kCpu);
  store(rows, 0, out);
  return out.squeeze(0);
}

}  // namespace subquad::test::chord_cases
