#include "subquad/kernels/hidden_cross/hidden_cross.h"

#include <doctest/doctest.h>

#include "subquad/core/graph.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/reduce/reduce.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

Mask lengths(const std::vector<Index>& n, Index positions) {
  return Mask::from_lengths(tensor<Index>(n, {static_cast<Index>(n.size())}), positions).to(device());
}

using Lengths = std::vector<Index>;  // empty: no mask

Index length_of(const Lengths& length, Index b, Index positions) {
  return length.empty() ? positions : length[static_cast<std::size_t>(b)];
}

struct Case {
  Shape shape;  // [B, N, C]
  Lengths length;
  Mask mask() const { return length.empty() ? Mask() : lengths(length, shape[1]); }
};

// Lengths that are powers of two, smooth, odd, prime, 1, 0; channels that fill vectors, parts of them, or hardly a
// lane.
const std::vector<Case> kCases = {
    {{2, 8, 3}, {}},   {{1, 1, 1}, {}},           {{3, 0, 2}, {}},
    {{0, 5, 2}, {}},   {{2, 6, 0}, {}},           {{4, 13, 5}, {13, 8, 1, 0}},
    {{1, 64, 32}, {}}, {{2, 45, 16}, {45, 31}},   {{3, 30, 33}, {30, 27, 2}},
    {{1, 97, 1}, {}},  {{2, 200, 17}, {96, 200}}, {{2, 331, 2}, {331, 330}},
    {{90, 6, 19}, {}},  // samples enough that a block of a CUDA device takes several channels
};
// A CUDA device's shared memory holds 2048 (float64) to 8192 positions, fewer where they are padded.
const std::vector<Case> kLong = {{{2, 2100, 6}, {2099, 500}}, {{1, 4500, 1}, {}}, {{2, 4100, 1}, {4099, 0}}};

// The definition: every product of the n * n is formed.
kernels::HiddenCross reference(const Tensor& a_in, const Tensor& b_in, const Lengths& length) {
  const Tensor a_wide = doubles(a_in), b_wide = doubles(b_in);
  const auto a = a_wide.view<const double, 3>(), b = b_wide.view<const double, 3>();
  kernels::HiddenCross out = {zeros_like(a_wide), zeros_like(a_wide)};
  for (Index s = 0; s < a.dim(0); ++s)
    for (Index c = 0; c < a.dim(2); ++c) {
      const Index n = length_of(length, s, a.dim(1));
      double a_mean = 0, b_mean = 0;
      for (Index i = 0; i < n; ++i) {
        a_mean += a(s, i, c) / static_cast<double>(n);
        b_mean += b(s, i, c) / static_cast<double>(n);
      }
      auto lag = out.lag.view<double, 3>(), col = out.col.view<double, 3>();
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) {
          const double y = b(s, j, c) - b_mean;
          lag(s, j < i ? j - i + n : j - i, c) += (a(s, i, c) - a_mean) * y / static_cast<double>(n);
          col(s, j, c) += a(s, i, c) * y / static_cast<double>(n);
        }
    }
  return out;
}

// Sum over the outputs of upstream * output is linear in a and in b: its slope along an axis is a gradient.
kernels::HiddenCrossGrads reference_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b,
                                         const Lengths& length) {
  kernels::HiddenCrossGrads grads = {zeros_like(doubles(a)), zeros_like(doubles(a))};
  const Tensor up_lag = doubles(dlag), up_col = doubles(dcol);
  for (Tensor* grad : {&grads.da, &grads.db})
    for (Index i = 0; i < a.size(); ++i) {
      Tensor unit = zeros_like(doubles(a));
      unit.data<double>()[i] = 1;
      const bool of_a = grad == &grads.da;
      const kernels::HiddenCross slope = reference(of_a ? unit : a, of_a ? b : unit, length);
      double sum = 0;
      for (Index e = 0; e < a.size(); ++e)
        sum += up_lag.data<double>()[e] * slope.lag.data<double>()[e] +
               up_col.data<double>()[e] * slope.col.data<double>()[e];
      grad->data<double>()[i] = sum;
    }
  return grads;
}

TEST_CASE("hidden_cross equals the double loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : kCases) {
        CAPTURE(c.shape);
        const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2);
        const auto got = kernels::hidden_cross(a, b, c.mask());
        const auto want = reference(a, b, c.length);
        const double tolerance = dot_tolerance(dtype, 8);  // sums of n terms are divided by n
        CHECK_CLOSE(got.lag, want.lag, tolerance);
        CHECK_CLOSE(got.col, want.col, tolerance);
      }
    });
  });
}

TEST_CASE("hidden_cross gradients equal the double loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : kCases) {
        if (c.shape.size() > 300) continue;  // the reference takes the fourth power
        CAPTURE(c.shape);
        const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2);
        const Tensor dlag = normal(c.shape, dtype, 3), dcol = normal(c.shape, dtype, 4);
        const auto got = kernels::hidden_cross_grad(dlag, dcol, a, b, c.mask());
        const auto want = reference_grad(dlag, dcol, a, b, c.length);
        CHECK_CLOSE(got.da, want.da, dot_tolerance(dtype, 16));
        CHECK_CLOSE(got.db, want.db, dot_tolerance(dtype, 16));
        const auto half = kernels::hidden_cross_grad(dlag, {}, a, b, c.mask());
        const auto zero = kernels::hidden_cross_grad(dlag, zeros_like(a), a, b, c.mask());
        CHECK(same_bits(half.da, zero.da));
        CHECK(same_bits(half.db, zero.db));
      }
    });
  });
}

// The formulas of the header.
kernels::HiddenCrossGrads direct_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a_in, const Tensor& b_in,
                                      const Lengths& length) {
  const Tensor wide[] = {doubles(dlag), doubles(dcol), doubles(a_in), doubles(b_in)};
  kernels::HiddenCrossGrads grads = {zeros_like(wide[0]), zeros_like(wide[0])};
  const auto up = wide[0].view<const double, 3>(), col = wide[1].view<const double, 3>();
  const auto a = wide[2].view<const double, 3>(), b = wide[3].view<const double, 3>();
  auto da = grads.da.view<double, 3>(), db = grads.db.view<double, 3>();
  for (Index s = 0; s < a.dim(0); ++s)
    for (Index c = 0; c < a.dim(2); ++c) {
      const Index n = length_of(length, s, a.dim(1));
      const auto mean = [n](const auto& term) {
        double sum = 0;
        for (Index i = 0; i < n; ++i) sum += term(i) / static_cast<double>(n);
        return sum;
      };
      const double a_mean = mean([&](Index i) { return a(s, i, c); }),
                   b_mean = mean([&](Index i) { return b(s, i, c); });
      const double up_mean = mean([&](Index i) { return col(s, i, c); });
      const double columns = mean([&](Index i) { return col(s, i, c) * (b(s, i, c) - b_mean); });
      for (Index i = 0; i < n; ++i) {
        da(s, i, c) += columns;
        db(s, i, c) += a_mean * (col(s, i, c) - up_mean);
        for (Index t = 0; t < n; ++t) {
          const Index j = i + t < n ? i + t : i + t - n;
          da(s, i, c) += up(s, t, c) / static_cast<double>(n) * (b(s, j, c) - b_mean);
          db(s, j, c) += up(s, t, c) / static_cast<double>(n) * (a(s, i, c) - a_mean);
        }
      }
    }
  return grads;
}

TEST_CASE("hidden_cross of long sequences, and its gradients, equal the double loop" *
          doctest::test_suite("less shared memory")) {
  for_each_float([](DType dtype) {
    for (const std::vector<Case>& cases : {kCases, kLong})
      for (const Case& c : cases) {
        CAPTURE(c.shape);
        const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2);
        const Tensor dlag = normal(c.shape, dtype, 3), dcol = normal(c.shape, dtype, 4);
        const auto got = kernels::hidden_cross(a, b, c.mask());
        const auto want = reference(a, b, c.length);
        CHECK_CLOSE(got.lag, want.lag, dot_tolerance(dtype, 8));
        CHECK_CLOSE(got.col, want.col, dot_tolerance(dtype, 8));
        const auto grads = kernels::hidden_cross_grad(dlag, dcol, a, b, c.mask());
        const auto direct = direct_grad(dlag, dcol, a, b, c.length);
        CHECK_CLOSE(grads.da, direct.da, dot_tolerance(dtype, 16));
        CHECK_CLOSE(grads.db, direct.db, dot_tolerance(dtype, 16));
      }
  });
}

TEST_CASE("hidden_cross with a shift is that of a + shift, and its gradients are") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : {kCases[0], kCases[2], kCases[5], kCases[8], kLong[0]}) {
        CAPTURE(c.shape);
        const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2),
                     shift = normal({c.shape[2]}, dtype, 5);
        const Tensor dlag = normal(c.shape, dtype, 3), dcol = normal(c.shape, dtype, 4);
        const Tensor sum = kernels::add(a, shift);
        const auto got = kernels::hidden_cross(a, b, c.mask(), shift), want = kernels::hidden_cross(sum, b, c.mask());
        CHECK(same_bits(got.lag, kernels::hidden_cross(a, b, c.mask()).lag));
        CHECK_CLOSE(got.lag, want.lag, dot_tolerance(dtype, 8));
        CHECK_CLOSE(got.col, want.col, dot_tolerance(dtype, 8));
        const auto grads = kernels::hidden_cross_grad(dlag, dcol, a, b, c.mask(), shift);
        const auto of_sum = kernels::hidden_cross_grad(dlag, dcol, sum, b, c.mask());
        CHECK_CLOSE(grads.da, of_sum.da, dot_tolerance(dtype, 16));
        CHECK_CLOSE(grads.db, of_sum.db, dot_tolerance(dtype, 16));
        CHECK_FALSE(of_sum.dshift_parts.defined());
        CHECK_CLOSE(kernels::sum(grads.dshift_parts, {0}), kernels::sum(of_sum.da, {0, 1}),
                    dot_tolerance(dtype, 2 * c.shape[1]));
      }
    });
  });
}

TEST_CASE("hidden_cross of a long sample does not know how much padding is behind it" *
          doctest::test_suite("less shared memory")) {
  for_each_float([](DType dtype) {
    const Index n = dtype == kFloat32 ? 4099 : 2051;  // just too long for a block
    const auto part = [n](const Tensor& t) { return t.slice(0, 1, 2).slice(1, 0, n).contiguous(); };
    std::vector<Tensor> in;
    for (std::uint64_t i = 0; i < 4; ++i) in.push_back(normal({2, n + 11, 2}, dtype, i));
    const Mask mask = lengths({7, n}, n + 11);
    const auto lag = kernels::hidden_cross(in[0], in[1], mask).lag;
    const auto grads = kernels::hidden_cross_grad(in[2], in[3], in[0], in[1], mask);
    for (Tensor& t : in) t = part(t);
    CHECK(same_bits(part(lag), kernels::hidden_cross(in[0], in[1]).lag));
    const auto alone = kernels::hidden_cross_grad(in[2], in[3], in[0], in[1]);
    CHECK(same_bits(part(grads.da), alone.da));
    CHECK(same_bits(part(grads.db), alone.db));
  });
}

TEST_CASE("hidden_cross turns with the sequence: lags stay, columns shift along") {
  const Index n = 36;
  const Tensor a = normal({1, n, 4}, kFloat64, 1), b = normal({1, n, 4}, kFloat64, 2);
  const auto turned = [&](const Tensor& x) {
    Tensor out = empty_like(x);
    for (Index i = 0; i < n; ++i) {
      Tensor row = out.select(1, (i + 5) % n);
      copy(x.select(1, i), row);
    }
    return out;
  };
  const auto before = kernels::hidden_cross(a, b), after = kernels::hidden_cross(turned(a), turned(b));
  CHECK_CLOSE(after.lag, before.lag, 1e-14);
  CHECK_CLOSE(after.col, turned(before.col), 1e-14);
}

TEST_CASE("hidden_cross of a sample knows neither padding nor other samples") {
  for_each_float([](DType dtype) {
    for (const Index n : {0, 1, 2, 7, 24, 31, 64}) {
      CAPTURE(n);
      const auto run = [&](const Tensor& a, const Tensor& b, const Tensor& dlag, const Tensor& dcol, const Mask& mask) {
        const auto f = kernels::hidden_cross(a, b, mask);
        const auto g = kernels::hidden_cross_grad(dlag, dcol, a, b, mask);
        return std::vector<Tensor>{f.lag, f.col, g.da, g.db};
      };
      const Shape shape = {2, 70, 6};
      std::vector<Tensor> in, other, alone;
      for (std::uint64_t i = 0; i < 4; ++i) {
        in.push_back(normal(shape, dtype, i));
        other.push_back(full(shape, 1e6, dtype, device()));  // another sample 1, other padding
        Tensor real = other.back().slice(0, 0, 1).slice(1, 0, n);
        copy(in.back().slice(0, 0, 1).slice(1, 0, n), real);
        alone.push_back(in.back().slice(0, 0, 1).slice(1, 0, n).contiguous());
      }
      const auto first = run(in[0], in[1], in[2], in[3], lengths({n, 70}, 70));
      const auto second = run(other[0], other[1], other[2], other[3], lengths({n, 13}, 70));
      const auto third = run(alone[0], alone[1], alone[2], alone[3], {});
      for (std::size_t i = 0; i < first.size(); ++i) {
        CHECK(same_bits(first[i].slice(0, 0, 1), second[i].slice(0, 0, 1)));
        CHECK(same_bits(first[i].slice(0, 0, 1).slice(1, 0, n), third[i]));
        CHECK(same_bits(first[i].slice(0, 0, 1).slice(1, n, 70), zeros({1, 70 - n, 6}, dtype, kCpu)));
      }
    }
  });
}

TEST_CASE("hidden_cross gives the same bits for any thread count") {
  const Tensor a = normal({3, 120, 40}, kFloat32, 1), b = normal({3, 120, 40}, kFloat32, 2);
  const Mask mask = lengths({120, 77, 64}, 120);
  CHECK(same_for_any_thread_count([&] {
    const auto f = kernels::hidden_cross(a, b, mask);
    const auto g = kernels::hidden_cross_grad(b, a, a, b, mask);
    return std::vector<Tensor>{f.lag, f.col, g.da, g.db};
  }));
}

TEST_SUITE("cuda") {
  TEST_CASE("hidden_cross in a graph takes the lengths that are there at its replay") {
    const Index most = 2100;  // too long for a block in float64
    const Tensor a = normal({2, most, 2}, kFloat64, 1), b = normal({2, most, 2}, kFloat64, 2);
    const auto run = [&](const Mask& mask) {
      const auto f = kernels::hidden_cross(a, b, mask);
      const auto g = kernels::hidden_cross_grad(b, a, a, b, mask);
      return std::vector<Tensor>{f.lag, f.col, g.da, g.db};
    };
    Mask mask = lengths({most, 5}, most);
    std::vector<Tensor> out;
    Graph graph = Graph::capture(device(), [&] { out = run(mask); });
    for (const std::vector<Index>& n : {std::vector<Index>{most - 1, 5}, std::vector<Index>{0, most}}) {
      const Mask other = lengths(n, most);
      copy(other.lengths, mask.lengths);
      graph.replay();
      const std::vector<Tensor> want = run(other);
      for (std::size_t i = 0; i < out.size(); ++i) CHECK(same_bits(out[i], want[i]));
    }
  }
}

TEST_SUITE("cpu") {
  TEST_CASE("hidden_cross_grad has the same bits from kept spectra") {
    for_each_simd_target([] {
      for_each_float([](DType dtype) {
        for (const std::vector<Case>& cases : {kCases, kLong})
          for (const Case& c : cases) {
            CAPTURE(c.shape);
            const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2);
            const Tensor dlag = normal(c.shape, dtype, 3), dcol = normal(c.shape, dtype, 4);
            const Tensor shift = normal({c.shape[2]}, dtype, 5);
            kernels::CyclicSpectra spectra;
            const auto kept = kernels::hidden_cross(a, b, c.mask(), shift, &spectra);
            CHECK(same_bits(kept.lag, kernels::hidden_cross(a, b, c.mask(), shift).lag));
            CHECK(same_bits(kept.col, kernels::hidden_cross(a, b, c.mask(), shift).col));
            const auto got = kernels::hidden_cross_grad(dlag, dcol, a, b, c.mask(), shift, spectra);
            const auto want = kernels::hidden_cross_grad(dlag, dcol, a, b, c.mask(), shift);
            CHECK(same_bits(got.da, want.da));
            CHECK(same_bits(got.db, want.db));
            CHECK(same_bits(got.dshift_parts, want.dshift_parts));
          }
      });
    });
  }

  // the door is the same on every device
  TEST_CASE("hidden_cross names what is wrong") {
    const Tensor a = zeros({2, 4, 3}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::hidden_cross(a, zeros({2, 4, 2}, kFloat32, kCpu)),
                         "hidden_cross: b is [2, 4, 2] float32 cpu, expected shape [2, 4, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::hidden_cross(a, zeros({2, 4, 3}, kFloat64, kCpu)),
                         "hidden_cross: b is [2, 4, 3] float64 cpu, expected float32 like a", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::hidden_cross(zeros({4, 3}, kFloat32, kCpu), a),
                         "hidden_cross: a is [4, 3] float32 cpu, expected rank 3", ShapeError);
    const Mask holes = Mask::from_bool(tensor<bool>({true, false, true, false, true, true, true, true}, {2, 4}));
    CHECK_THROWS_WITH_AS(kernels::hidden_cross(a, a, holes),
                         "hidden_cross: the mask has real positions behind padded ones, expected every sample's real "
                         "positions in front (compact moves them there)",
                         Error);
    CHECK_THROWS_WITH_AS(kernels::hidden_cross_grad(a, zeros({2, 4, 1}, kFloat32, kCpu), a, a),
                         "hidden_cross_grad: dcol is [2, 4, 1] float32 cpu, expected shape [2, 4, 3]", ShapeError);
  }
}

}  // namespace
}  // namespace subquad::test
