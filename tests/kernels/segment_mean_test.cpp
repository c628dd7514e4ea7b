#include "subquad/kernels/segment_mean/segment_mean.h"

#include <doctest/doctest.h>

#include <limits>

#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/segments/segments.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::MeanDivisor;

// What segment_mean divides the sum of segment j by; 0 where it holds no real position.
double divided_by(const Tensor& starts, const Mask& mask, MeanDivisor divisor, Index b, Index j) {
  Index real = 0, all = 0;
  for (Index i = static_cast<Index>(at(starts, {b, j})); i < static_cast<Index>(at(starts, {b, j + 1})); ++i, ++all)
    real += !mask.defined() || at(mask.real, {b, i}) != 0;
  if (real == 0) return 0;
  return static_cast<double>(divisor == MeanDivisor::real ? real : all);
}

// The matrix [B, S, N] whose product with x the means are.
Tensor weights(const Tensor& table, const Mask& seen, MeanDivisor divisor, Index positions) {
  const Tensor starts = table.to(kCpu);
  const Mask mask = seen.to(kCpu);
  Tensor out = zeros({starts.dim(0), starts.dim(1) - 1, positions}, kFloat64, kCpu);
  auto w = out.view<double, 3>();
  for (Index b = 0; b < out.dim(0); ++b)
    for (Index j = 0; j < out.dim(1); ++j)
      for (Index i = 0; i < positions; ++i) {
        const bool inside = i >= at(starts, {b, j}) && i < at(starts, {b, j + 1});
        const bool real = !mask.defined() || at(mask.real, {b, i}) != 0;
        if (inside && real) w(b, j, i) = 1 / divided_by(starts, mask, divisor, b, j);
      }
  return out;
}

// out = weights x; with `transposed`, out = weights^T x.
Tensor product(const Tensor& weight, const Tensor& input, bool transposed) {
  const Tensor x = doubles(input);
  const Index rows = weight.dim(transposed ? 2 : 1), depth = weight.dim(transposed ? 1 : 2);
  Tensor out = zeros({x.dim(0), x.dim(1), rows, x.dim(3)}, kFloat64, kCpu);
  auto to = out.view<double, 4>();
  const auto from = x.view<const double, 4>();
  const auto w = weight.view<const double, 3>();
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index h = 0; h < x.dim(1); ++h)
      for (Index r = 0; r < rows; ++r)
        for (Index d = 0; d < depth; ++d)
          for (Index c = 0; c < x.dim(3); ++c)
            to(b, h, r, c) += (transposed ? w(b, d, r) : w(b, r, d)) * from(b, h, d, c);
  return out;
}

struct Case {
  Shape x;  // [B, H, N, C]
  Index segments;
  std::vector<std::int64_t> lengths = {};  // none: no mask
  bool scattered = false;                  // else the real tokens stand first

  Mask mask() const {
    if (lengths.empty()) return {};
    Tensor real = zeros({x[0], x[2]}, kBool, kCpu);
    for (Index b = 0; b < x[0]; ++b)
      for (Index i = 0; i < lengths[static_cast<std::size_t>(b)]; ++i)
        real.view<bool, 2>()(b, scattered ? (7 * i + b) % x[2] : i) = true;  // x[2] is no multiple of 7
    return Mask::from_bool(real).to(device());
  }
  std::vector<Tensor> cuts() const {
    std::vector<Tensor> all = {kernels::even_segments(x[0], x[2], segments, device()),
                               kernels::segments_from_end(x[0], x[2], segments, device())};
    if (!lengths.empty()) all.push_back(kernels::even_segments_of_real(mask(), segments).starts);
    return all;
  }
};

std::vector<Case> cases() {
  return {{{2, 2, 12, 4}, 4},
          {{2, 1, 50, 3}, 8},
          {{1, 3, 5, 1}, 9},
          {{1, 1, 1, 1}, 1},
          {{3, 2, 23, 5}, 6, {23, 10, 0}},
          {{2, 2, 31, 17}, 5, {20, 3}, true},
          {{2, 1, 16, 2}, 32, {16, 9}, true},
          {{1, 2, 410, 36}, 3, {401}, true},
          {{2, 2, 300, 8}, 2, {300, 290}},
          {{0, 2, 8, 4}, 2},
          {{2, 2, 0, 4}, 3},
          {{1, 0, 6, 4}, 3}};
}

TEST_CASE("segment_mean and its gradient equal the product with the matrix of weights") {
  for_each_float([](DType dtype) {
    for (const Case& c : cases())
      for (const Tensor& starts : c.cuts())
        for (const MeanDivisor divisor : {MeanDivisor::real, MeanDivisor::length}) {
          CAPTURE(c.x);
          const Mask mask = c.mask();
          const Tensor w = weights(starts, mask, divisor, c.x[2]), x = normal(c.x, dtype, 1);
          const Tensor out = kernels::segment_mean(x, starts, mask, divisor);
          CHECK_CLOSE(out, product(w, x, false), dot_tolerance(dtype, c.x[2]));
          const Tensor dout = normal(out.shape(), dtype, 2);
          CHECK_CLOSE(kernels::segment_mean_grad(dout, starts, c.x[2], mask, divisor), product(w, dout, true),
                      pointwise_tolerance(dtype));
        }
  });
}

// Widths that take other blocks, uses that lie as attention's gradients do, and more tensors and uses than a launch
// has.
TEST_CASE("segment_means and their gradients are those of each tensor") {
  for_each_float([](DType dtype) {
    for (const Case& c : cases())
      for (const Index wider : {0, 3, 40}) {
        if (interpreted() && wider != 40) continue;  // time
        CAPTURE(c.x);
        const Mask mask = c.mask();
        const Tensor starts = c.cuts().back();
        std::vector<Tensor> xs;
        std::vector<kernels::MeanGrad> grads;
        for (Index i = 0; i < 4; ++i) {
          const std::uint64_t seed = static_cast<std::uint64_t>(10 * i);
          const Shape shape = c.x.with(3, c.x[3] + i % 2 * wider);
          xs.push_back(normal(shape, dtype, seed));
          kernels::MeanGrad grad;
          if (i != 2) grad.dout = normal(shape.with(2, c.segments), dtype, seed + 1);
          for (Index u = 0; u < (i == 2 ? 2 : i); ++u) {
            const Shape rows = {shape[0], shape[2], shape[1], shape[3]};
            grad.uses.push_back(normal(rows, dtype, seed + 2 + static_cast<std::uint64_t>(u)).transpose(1, 2));
          }
          grads.push_back(grad);
        }
        const std::vector<Tensor> means = kernels::segment_means(xs, starts, mask);
        const std::vector<Tensor> dxs = kernels::segment_means_grad(grads, starts, c.x[2], mask);
        for (std::size_t i = 0; i < xs.size(); ++i) {
          CHECK(same_bits(means[i], kernels::segment_mean(xs[i], starts, mask)));
          Tensor want = zeros(xs[i].shape(), dtype, device());
          if (grads[i].dout.defined())
            kernels::add_into(want, kernels::segment_mean_grad(grads[i].dout, starts, c.x[2], mask));
          for (const Tensor& use : grads[i].uses) kernels::add_into(want, use);
          CHECK_CLOSE(dxs[i], doubles(want), 4 * pointwise_tolerance(dtype));
          if (dxs[i].size() > 0) CHECK(dxs[i].select(0, 0).select(1, 0).is_contiguous());  // a position's features
        }
      }
  });
}

TEST_CASE("segment_means_of_real are the table and the means that it gives") {
  for (const Case& c : cases()) {
    if (c.lengths.empty()) continue;
    CAPTURE(c.x);
    const Mask mask = c.mask();
    const std::vector<Tensor> xs = {normal(c.x, kFloat32, 1), normal(c.x.with(3, 70), kFloat32, 2)};
    const auto got = kernels::segment_means_of_real(xs, mask, c.segments);
    const auto want = kernels::even_segments_of_real(mask, c.segments);
    CHECK(same_bits(got.cut.starts, want.starts));
    CHECK(same_bits(got.cut.filled.real, want.filled.real));
    CHECK(same_bits(got.cut.filled.lengths, want.filled.lengths));
    CHECK(same_bits(got.cut.covered, want.covered));
    const std::vector<Tensor> means = kernels::segment_means(xs, want.starts, mask);
    for (std::size_t i = 0; i < xs.size(); ++i) CHECK(same_bits(got.means[i], means[i]));
  }
}

TEST_CASE("segment_mean reads views where they lie") {
  const Tensor x = normal({2, 12, 3, 4}, kFloat32, 1).transpose(1, 2);  // [2, 3, 12, 4]
  const Tensor starts = kernels::even_segments(2, 12, 5, device());
  CHECK(same_bits(kernels::segment_mean(x, starts), kernels::segment_mean(x.contiguous(), starts)));
  const Tensor columns = normal({2, 3, 4, 12}, kFloat32, 1).transpose(2, 3);
  CHECK(same_bits(kernels::segment_mean(columns, starts), kernels::segment_mean(columns.contiguous(), starts)));
}

TEST_CASE("segment_mean of one token is the token, and padding is not read") {
  const Tensor x = normal({1, 2, 6, 3}, kFloat32, 1);
  const Tensor own = kernels::segment_mean(x, kernels::even_segments(1, 6, 6, device()));
  CHECK(same_bits(own, x));
  const Mask mask = Mask::from_lengths(tensor<Index>({4}, {1}), 6).to(device());
  const Tensor starts = kernels::even_segments_of_real(mask, 2).starts;
  const Tensor want = kernels::segment_mean(x, starts, mask);
  Tensor poisoned = x.clone(), padding = poisoned.slice(2, 4, 6);
  fill(padding, std::numeric_limits<double>::quiet_NaN());
  CHECK(same_bits(kernels::segment_mean(poisoned, starts, mask), want));
}

// Tokens are summed by their number, so the same tokens have the same mean wherever they stand.
TEST_CASE("segment_mean of tokens does not depend on the padding between them") {
  constexpr Index kTokens = 300, kPositions = 700;  // more than a block of 256 threads looks at in one go
  const Tensor x = normal({1, 2, kTokens, 5}, kFloat32, 1);
  Tensor real = zeros({1, kPositions}, kBool, kCpu);
  Tensor sparse = normal({1, 2, kPositions, 5}, kFloat32, 2);
  for (Index i = 0; i < kTokens; ++i) {
    const Index at = 2 * i + i / 7 % 2;
    real.data<bool>()[at] = true;
    Tensor to = sparse.slice(2, at, at + 1);
    copy(x.slice(2, i, i + 1), to);
  }
  const Mask mask = Mask::from_bool(real).to(device());
  for (const Index segments : {1, 5})
    CHECK(same_bits(kernels::segment_mean(sparse, kernels::even_segments_of_real(mask, segments).starts, mask),
                    kernels::segment_mean(x, kernels::even_segments(1, kTokens, segments, device()))));
}

TEST_CASE("segment_mean gives the same bits for any number of threads") {
  const Tensor x = normal({3, 2, 1000, 33}, kFloat32, 1), starts = kernels::even_segments(3, 1000, 64, device());
  CHECK(same_for_any_thread_count([&] {
    const Tensor out = kernels::segment_mean(x, starts);
    return std::vector<Tensor>{out, kernels::segment_mean_grad(out, starts, 1000)};
  }));
}

TEST_CASE("segment_mean names what does not fit") {
  const Tensor x = zeros({2, 1, 6, 3}, kFloat32, device()), starts = kernels::even_segments(2, 6, 2, device());
  CHECK_THROWS_WITH_AS(kernels::segment_mean(x.select(1, 0), starts), doctest::Contains("segment_mean: x is"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(kernels::segment_mean(x, kernels::even_segments(1, 6, 2, device())),
                       doctest::Contains("segment_mean: starts is [1, 3] int64"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::segment_mean(x.to(kCpu), kernels::even_segments(2, 5, 2, kCpu)),
                       "segment_mean: starts of sample 0 go from 0 to 5, expected from 0 to 6", Error);
  CHECK_THROWS_AS(kernels::segment_mean(x.to(kInt64), starts), DTypeError);
  CHECK_THROWS_WITH_AS(kernels::segment_mean_grad(x, starts, 6),
                       doctest::Contains("segment_mean_grad: dout is [2, 1, 6, 3]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::segment_means({x, zeros({2, 2, 6, 3}, kFloat32, device())}, starts),
                       doctest::Contains("x is [2, 2, 6, 3]"), ShapeError);
  const Tensor dout = zeros({2, 1, 2, 3}, kFloat32, device());
  CHECK_THROWS_WITH_AS(kernels::segment_means_grad({{dout, {x.slice(3, 0, 2)}}}, starts, 6),
                       doctest::Contains("segment_mean_grad: use is [2, 1, 6, 2]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::segment_means_grad({{}}, starts, 6),
                       "segment_mean_grad: dout is undefined and there is no use, expected either", Error);
}

}  // namespace
}  // namespace subquad::test
