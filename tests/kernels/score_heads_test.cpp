#include "subquad/kernels/score_heads/score_heads.h"

#include <doctest/doctest.h>

#include <cmath>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

struct Case {
  Index batch, positions, heads, channels, hidden;
};
const std::vector<Case> kCases = {{2, 5, 2, 3, 4},   {1, 1, 1, 1, 1},    {0, 3, 2, 2, 2},    {2, 0, 1, 3, 2},
                                  {1, 7, 3, 0, 5},   {1, 9, 2, 4, 0},    {2, 70, 2, 16, 16}, {1, 65, 1, 17, 33},
                                  {3, 64, 4, 8, 31}, {1, 129, 2, 33, 48}};

struct Inputs {
  Tensor feature, dscore;
  kernels::ScoreHeads heads;
};
Inputs inputs(const Case& c, DType dtype) {
  return {normal({c.batch, c.positions, c.heads * c.channels}, dtype, 1),
          normal({c.batch, c.heads, c.positions}, dtype, 2),
          {normal({c.heads, c.channels}, dtype, 3), normal({c.heads, c.channels, c.hidden}, dtype, 4),
           normal({c.heads, c.hidden}, dtype, 5), normal({c.heads, c.hidden}, dtype, 6)}};
}

double gelu(double z) {
  return z / 2 * std::erfc(-z / std::sqrt(2.0));
}
double gelu_slope(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2 + z * std::exp(-z * z / 2) / std::sqrt(2 * std::acos(-1.0));
}

// Every number by its own equation; calls visit(b, n, h, z) with the hidden values of a position.
Tensor hidden_values(const Case& c, const Inputs& in) {
  Tensor z = zeros({c.batch, c.positions, c.heads, c.hidden}, kFloat64, kCpu);
  const Tensor f = doubles(in.feature), w1 = doubles(in.heads.w1), b1 = doubles(in.heads.b1);
  auto out = z.view<double, 4>();
  const auto feature = f.view<const double, 3>(), weight = w1.view<const double, 3>();
  const auto bias = b1.view<const double, 2>();
  for (Index b = 0; b < c.batch; ++b)
    for (Index n = 0; n < c.positions; ++n)
      for (Index h = 0; h < c.heads; ++h)
        for (Index m = 0; m < c.hidden; ++m) {
          out(b, n, h, m) = bias(h, m);
          for (Index r = 0; r < c.channels; ++r) out(b, n, h, m) += feature(b, n, h * c.channels + r) * weight(h, r, m);
        }
  return z;
}

Tensor reference(const Case& c, const Inputs& in) {
  const Tensor z_all = hidden_values(c, in), f = doubles(in.feature), u_all = doubles(in.heads.u);
  const Tensor w2_all = doubles(in.heads.w2);
  const auto z = z_all.view<const double, 4>();
  const auto feature = f.view<const double, 3>();
  const auto u = u_all.view<const double, 2>(), w2 = w2_all.view<const double, 2>();
  Tensor score = zeros({c.batch, c.heads, c.positions}, kFloat64, kCpu);
  auto out = score.view<double, 3>();
  for (Index b = 0; b < c.batch; ++b)
    for (Index n = 0; n < c.positions; ++n)
      for (Index h = 0; h < c.heads; ++h) {
        for (Index r = 0; r < c.channels; ++r) out(b, h, n) += u(h, r) * feature(b, n, h * c.channels + r);
        for (Index m = 0; m < c.hidden; ++m) out(b, h, n) += w2(h, m) * gelu(z(b, n, h, m));
      }
  return score;
}

kernels::ScoreHeadsGrads reference_grad(const Case& c, const Inputs& in) {
  const Tensor z_all = hidden_values(c, in), f = doubles(in.feature), up_all = doubles(in.dscore);
  const kernels::ScoreHeads heads = {doubles(in.heads.u), doubles(in.heads.w1), doubles(in.heads.b1),
                                     doubles(in.heads.w2)};
  const auto z = z_all.view<const double, 4>();
  const auto feature = f.view<const double, 3>(), up = up_all.view<const double, 3>();
  const auto u = heads.u.view<const double, 2>(), w2 = heads.w2.view<const double, 2>();
  const auto w1 = heads.w1.view<const double, 3>();
  kernels::ScoreHeadsGrads grads = {
      zeros_like(f), {zeros_like(heads.u), zeros_like(heads.w1), zeros_like(heads.b1), zeros_like(heads.w2)}};
  auto df = grads.dfeature.view<double, 3>(), dw1 = grads.dheads.w1.view<double, 3>();
  auto du = grads.dheads.u.view<double, 2>(), db1 = grads.dheads.b1.view<double, 2>();
  auto dw2 = grads.dheads.w2.view<double, 2>();
  for (Index b = 0; b < c.batch; ++b)
    for (Index n = 0; n < c.positions; ++n)
      for (Index h = 0; h < c.heads; ++h) {
        const double ds = up(b, h, n);
        for (Index r = 0; r < c.channels; ++r) {
          df(b, n, h * c.channels + r) += ds * u(h, r);
          du(h, r) += ds * feature(b, n, h * c.channels + r);
        }
        for (Index m = 0; m < c.hidden; ++m) {
          const double dz = ds * w2(h, m) * gelu_slope(z(b, n, h, m));
          dw2(h, m) += ds * gelu(z(b, n, h, m));
          db1(h, m) += dz;
          for (Index r = 0; r < c.channels; ++r) {
            df(b, n, h * c.channels + r) += dz * w1(h, r, m);
            dw1(h, r, m) += dz * feature(b, n, h * c.channels + r);
          }
        }
      }
  return grads;
}

TEST_CASE("score_heads equals the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : kCases) {
        CAPTURE(c.positions);
        CAPTURE(c.hidden);
        const Inputs in = inputs(c, dtype);
        CHECK_CLOSE(kernels::score_heads(in.feature, in.heads), reference(c, in),
                    dot_tolerance(dtype, c.channels + c.hidden));
      }
    });
  });
}

TEST_CASE("score_heads gradients equal the loop" * doctest::test_suite("less shared memory")) {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : kCases) {
        CAPTURE(c.positions);
        CAPTURE(c.hidden);
        const Inputs in = inputs(c, dtype);
        const auto got = kernels::score_heads_grad(in.dscore, in.feature, in.heads);
        const auto want = reference_grad(c, in);
        const double tolerance = dot_tolerance(dtype, c.channels + c.hidden);
        const double summed = dot_tolerance(dtype, c.batch * c.positions);
        CHECK_CLOSE(got.dfeature, want.dfeature, tolerance);
        CHECK_CLOSE(got.dheads.u, want.dheads.u, summed);
        CHECK_CLOSE(got.dheads.w1, want.dheads.w1, summed);
        CHECK_CLOSE(got.dheads.b1, want.dheads.b1, summed);
        CHECK_CLOSE(got.dheads.w2, want.dheads.w2, summed);
      }
    });
  });
}

TEST_CASE("score_heads: positions of zero gradient at the end change no bit") {
  const Case c = {2, 150, 2, 5, 7};
  Inputs in = inputs(c, kFloat32);
  Tensor padding = in.dscore.slice(2, 83, 150);
  fill(padding, 0);
  const auto longer = kernels::score_heads_grad(in.dscore, in.feature, in.heads);
  const auto shorter = kernels::score_heads_grad(in.dscore.slice(2, 0, 83).contiguous(),
                                                 in.feature.slice(1, 0, 83).contiguous(), in.heads);
  CHECK(same_bits(longer.dfeature.slice(1, 0, 83), shorter.dfeature));
  CHECK(same_bits(longer.dheads.u, shorter.dheads.u));
  CHECK(same_bits(longer.dheads.w1, shorter.dheads.w1));
  CHECK(same_bits(longer.dheads.b1, shorter.dheads.b1));
  CHECK(same_bits(longer.dheads.w2, shorter.dheads.w2));
}

TEST_CASE("score_heads gives the same bits for any thread count") {
  const Inputs in = inputs({5, 333, 2, 16, 16}, kFloat32);
  CHECK(same_for_any_thread_count([&] {
    const auto g = kernels::score_heads_grad(in.dscore, in.feature, in.heads);
    return std::vector<Tensor>{
        kernels::score_heads(in.feature, in.heads), g.dfeature, g.dheads.u, g.dheads.w1, g.dheads.b1, g.dheads.w2};
  }));
}

TEST_CASE("score_heads_pair is score_heads twice") {
  for_each_float([](DType dtype) {
    for (const Case& c : {kCases[0], kCases[2], kCases[3], kCases[7], kCases[8]}) {
      const Inputs x = inputs(c, dtype);
      Inputs y = inputs(c, dtype);
      std::swap(y.heads.b1, y.heads.w2);
      y.feature = normal(y.feature.shape(), dtype, 8);
      y.dscore = normal(y.dscore.shape(), dtype, 9);
      const auto scores = kernels::score_heads_pair({x.feature, y.feature}, {x.heads, y.heads});
      const auto grads =
          kernels::score_heads_pair_grad({x.dscore, y.dscore}, {x.feature, y.feature}, {x.heads, y.heads});
      for (const std::size_t s : {0, 1}) {
        const Inputs& in = s == 0 ? x : y;
        const auto want = kernels::score_heads_grad(in.dscore, in.feature, in.heads);
        CHECK(same_bits(scores[s], kernels::score_heads(in.feature, in.heads)));
        CHECK(same_bits(grads[s].dfeature, want.dfeature));
        CHECK(same_bits(grads[s].dheads.u, want.dheads.u));
        CHECK(same_bits(grads[s].dheads.w1, want.dheads.w1));
        CHECK(same_bits(grads[s].dheads.b1, want.dheads.b1));
        CHECK(same_bits(grads[s].dheads.w2, want.dheads.w2));
      }
    }
  });
}

TEST_CASE("score_heads names what is wrong") {
  const Inputs in = inputs({1, 4, 2, 3, 5}, kFloat32);
  kernels::ScoreHeads heads = in.heads;
  heads.u = zeros({2, 4}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::score_heads(in.feature, heads),
                       "score_heads: u is [2, 4] float32 cpu, expected [H, R] with H >= 1 and H * R = 6, the channels "
                       "of feature [1, 4, 6]",
                       ShapeError);
  heads = in.heads;
  heads.b1 = zeros({2, 4}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::score_heads(in.feature, heads),
                       "score_heads: b1 is [2, 4] float32 cpu, expected shape [2, 5]", ShapeError);
  heads = in.heads;
  heads.w2 = zeros({2, 5}, kFloat64, kCpu);
  CHECK_THROWS_WITH_AS(kernels::score_heads(in.feature, heads),
                       "score_heads: w2 is [2, 5] float64 cpu, expected float32 like feature", DTypeError);
  const Inputs other = inputs({1, 4, 2, 3, 6}, kFloat32);
  CHECK_THROWS_WITH_AS(kernels::score_heads_pair({in.feature, other.feature}, {in.heads, other.heads}),
                       doctest::Contains("score_heads_pair: the second w1 is [2, 3, 6]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::score_heads_grad(zeros({1, 2, 3}, kFloat32, kCpu), in.feature, in.heads),
                       "score_heads_grad: dscore is [1, 2, 3] float32 cpu, expected shape [1, 2, 4]", ShapeError);
}

}  // namespace
}  // namespace subquad::test
