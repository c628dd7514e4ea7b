#include "subquad/kernels/factor_mlp/factor_mlp.h"

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "subquad/core/allocator.h"
#include "subquad/core/precision.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::FactorMlp;

struct MlpCase {
  Index factors = 2, batch = 2, positions = 5, inputs = 3, hidden = 4, outputs = 2;
  std::vector<std::int64_t> lengths = {};  // empty: no mask
  bool scattered = false;                  // every third position is padding

  Mask mask() const {
    if (scattered) {
      Tensor real = full({batch, positions}, 1, kBool, kCpu);
      for (Index i = 0; i < real.size(); i += 3) real.data<bool>()[i] = false;
      return Mask::from_bool(here(real));
    }
    return lengths.empty() ? Mask() : Mask::from_lengths(here(tensor(lengths, {batch})), positions);
  }
};

std::ostream& operator<<(std::ostream& out, const MlpCase& c) {
  return out << c.factors << " of " << c.inputs << " -> " << c.hidden << " -> " << c.outputs << " on [" << c.batch
             << ", " << c.positions << "]" << (c.mask().defined() ? ", masked" : "");
}

std::vector<MlpCase> cases() {
  return {
      {},
      {.factors = 1, .batch = 1, .positions = 1, .inputs = 1, .hidden = 1, .outputs = 1},
      {.factors = 3, .positions = 31, .inputs = 17, .hidden = 33, .outputs = 9},
      {.factors = 4, .positions = 64, .inputs = 64, .hidden = 32, .outputs = 12},
      {.factors = 3, .batch = 1, .positions = 97, .inputs = 18, .hidden = 35, .outputs = 19},
      {.factors = 2, .batch = 1, .positions = 63, .inputs = 5, .hidden = 7, .outputs = 1},
      {.factors = 1, .batch = 1, .positions = 65, .inputs = 20, .hidden = 100, .outputs = 48},
      {.batch = 1, .positions = 70, .inputs = 130, .hidden = 40, .outputs = 68},
      {.factors = 1, .batch = 1, .positions = 70, .inputs = 100, .hidden = 20, .outputs = 65},
      {.batch = 1, .positions = 1300, .inputs = 6, .hidden = 8, .outputs = 5},  // several chunks
      {.batch = 3, .positions = 130, .lengths = {130, 0, 67}},
      {.batch = 2, .positions = 100, .scattered = true},
      {.batch = 0},
      {.positions = 0},
  };
}

struct Inputs {
  Tensor x;
  FactorMlp mlp;
  Tensor dout;
};

Inputs make_inputs(const MlpCase& c, DType dtype) {
  const double a = 1 / std::sqrt(static_cast<double>(c.inputs)), b = 1 / std::sqrt(static_cast<double>(c.hidden));
  return {
      normal({c.batch, c.positions, c.inputs}, dtype, 1),
      {uniform({c.factors, c.inputs, c.hidden}, dtype, -2 * a, 2 * a, 2), normal({c.factors, c.hidden}, dtype, 3),
       uniform({c.factors, c.hidden, c.outputs}, dtype, -2 * b, 2 * b, 4), normal({c.factors, c.outputs}, dtype, 5)},
      normal({c.factors, c.batch, c.positions, c.outputs}, dtype, 6)};
}

struct Results {
  Tensor out;
  kernels::FactorMlpGrads grads;
  std::vector<Tensor> all() const {
    return {out, grads.dx, grads.mlp.first, grads.mlp.first_bias, grads.mlp.second, grads.mlp.second_bias};
  }
};

Results run(const MlpCase& c, const Inputs& in) {
  return {kernels::factor_mlp(in.x, in.mlp, c.mask()), kernels::factor_mlp_grad(in.dout, in.x, in.mlp, c.mask())};
}

// A float64 tensor that adds up.
struct Sum {
  Tensor t;
  explicit Sum(const Tensor& like) : t(zeros(like.shape(), kFloat64, kCpu)) {}
  double& operator()(std::initializer_list<Index> index) {
    Index flat = 0;
    int d = 0;
    for (const Index i : index) flat = flat * t.dim(d++) + i;
    return t.data<double>()[flat];
  }
};

using Rounding = std::function<double(double)>;  // of what is multiplied

std::vector<Tensor> slow(
    const MlpCase& c, const Inputs& in, const Rounding& low = [](double x) { return x; }) {
  const Tensor x = doubles(in.x), first = doubles(in.mlp.first), first_bias = doubles(in.mlp.first_bias);
  const Tensor second = doubles(in.mlp.second), second_bias = doubles(in.mlp.second_bias), up = doubles(in.dout);
  Sum out(in.dout), dx(in.x), dfirst(first), dfirst_bias(first_bias), dsecond(second), dsecond_bias(second_bias);
  const Mask mask = c.mask();
  for (Index m = 0; m < c.factors; ++m)
    for (Index b = 0; b < c.batch; ++b)
      for (Index i = 0; i < c.positions; ++i) {
        if (mask.defined() && at(mask.real, {b, i}) == 0) continue;
        for (Index o = 0; o < c.outputs; ++o) {
          out({m, b, i, o}) = at(second_bias, {m, o});
          dsecond_bias({m, o}) += at(up, {m, b, i, o});
        }
        for (Index h = 0; h < c.hidden; ++h) {
          double z = at(first_bias, {m, h}), dr = 0;
          for (Index k = 0; k < c.inputs; ++k) z += low(at(x, {b, i, k})) * low(at(first, {m, k, h}));
          const double cdf = (1 + std::erf(z / std::numbers::sqrt2)) / 2, r = low(z * cdf);
          const double slope = cdf + z * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
          for (Index o = 0; o < c.outputs; ++o) {
            const double dy = low(at(up, {m, b, i, o})), weight = low(at(second, {m, h, o}));
            out({m, b, i, o}) += r * weight;
            dsecond({m, h, o}) += r * dy;
            dr += dy * weight;
          }
          const double dz = low(dr * slope);
          dfirst_bias({m, h}) += dr * slope;
          for (Index k = 0; k < c.inputs; ++k) {
            dfirst({m, k, h}) += low(at(x, {b, i, k})) * dz;
            dx({b, i, k}) += dz * low(at(first, {m, k, h}));
          }
        }
      }
  return {out.t, dx.t, dfirst.t, dfirst_bias.t, dsecond.t, dsecond_bias.t};
}

}  // namespace

TEST_CASE("factor_mlp equals the plain loops" * doctest::test_suite("less shared memory")) {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const MlpCase& c : cases()) {
        CAPTURE(c);
        CAPTURE(dtype);
        const Inputs in = make_inputs(c, dtype);
        const std::vector<Tensor> got = run(c, in).all(), want = slow(c, in);
        const Index length = c.inputs + c.hidden + c.outputs + c.batch * c.positions;
        for (std::size_t i = 0; i < want.size(); ++i) {
          CAPTURE(i);
          CHECK_CLOSE(got[i], want[i], dot_tolerance(dtype, length));
        }
      }
    });
  });
}

TEST_CASE("factor_mlp does not see what stands at padded positions, not even NaN") {
  for_each_simd_target([] {
    for (const MlpCase& c : cases()) {
      const Mask mask = c.mask();
      if (!mask.defined()) continue;
      CAPTURE(c);
      const Inputs clean = make_inputs(c, kFloat32);
      Inputs dirty = make_inputs(c, kFloat32);
      for (Index b = 0; b < c.batch; ++b)
        for (Index i = 0; i < c.positions; ++i) {
          if (at(mask.real, {b, i}) != 0) continue;
          Tensor row = dirty.x.select(0, b).select(0, i), up = dirty.dout.select(1, b).select(1, i);
          fill(row, std::numeric_limits<double>::quiet_NaN());
          fill(up, std::numeric_limits<double>::quiet_NaN());
        }
      const std::vector<Tensor> got = run(c, dirty).all(), want = run(c, clean).all();
      for (std::size_t i = 0; i < want.size(); ++i) CHECK(same_bits(got[i], want[i]));
    }
  });
}

TEST_CASE("factor_mlp: a row does not depend on padding or on the rest of the batch") {
  const MlpCase c{.batch = 3, .positions = 100, .inputs = 20, .hidden = 24, .outputs = 12, .lengths = {100, 70, 1}};
  const Inputs in = make_inputs(c, kFloat32);
  const Results all = run(c, in);
  for (Index b = 0; b < 3; ++b) {
    const Index n = c.lengths[static_cast<std::size_t>(b)];
    const auto rows = [&](const Tensor& t, int axis) {
      return t.slice(axis, b, b + 1).slice(axis + 1, 0, n).contiguous();
    };
    MlpCase alone = c;
    alone.batch = 1, alone.positions = n, alone.lengths.clear();
    const Results one = run(alone, {rows(in.x, 0), in.mlp, rows(in.dout, 1)});
    CHECK(same_bits(one.out, rows(all.out, 1)));
    CHECK(same_bits(one.grads.dx, rows(all.grads.dx, 0)));
  }
}

TEST_CASE("factor_mlp: a row has the same bits among few rows and among many") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const MlpCase many{.factors = 2, .batch = 1, .positions = 64, .inputs = 20, .hidden = 24, .outputs = 11};
      MlpCase few = many;
      few.positions = 39;  // of a strip: tiles of every height
      const Inputs in = make_inputs(many, dtype);
      const Tensor want = kernels::factor_mlp(in.x, in.mlp).slice(2, 0, few.positions).contiguous();
      CHECK(same_bits(kernels::factor_mlp(in.x.slice(1, 0, few.positions).contiguous(), in.mlp), want));
    });
  });
}

TEST_CASE("factor_mlp gives the same bits for any number of threads") {
  const Index n = interpreted() ? 300 : 1500;
  for (const MlpCase& c :
       {MlpCase{.factors = 3, .batch = 2, .positions = n, .inputs = 10, .hidden = 20, .outputs = 7},
        MlpCase{.batch = 1, .positions = 70, .inputs = 130, .hidden = 6}}) {  // too wide for tensor cores
    const Inputs in = make_inputs(c, kFloat32);
    CHECK(same_for_any_thread_count([&] { return run(c, in).all(); }));
  }
}

// Every pair of widths that the tensor-core kernels are compiled for, in more than one block of rows.
std::vector<MlpCase> precision_cases() {
  const auto of = [](Index inputs, Index hidden, Index outputs) {
    return MlpCase{.batch = 1, .positions = 130, .inputs = inputs, .hidden = hidden, .outputs = outputs};
  };
  return {of(24, 20, 12), of(50, 40, 13), of(64, 40, 40), of(128, 30, 9), of(100, 40, 68)};
}

struct LowPrecision {
  Precision precision;
  int dropped_bits;  // of a float32
};

double rounded(double x, int dropped_bits) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(x)) + (1u << (dropped_bits - 1));
  return std::bit_cast<float>(bits >> dropped_bits << dropped_bits);
}

TEST_CASE("factor_mlp in tf32 and bf16 is at most twice as wrong as plain loops that round what they multiply") {
  if (device().is_cpu()) return;  // computes in float32 whatever is asked for
  for (const LowPrecision low : {LowPrecision{Precision::tf32, 13}, {Precision::bf16, 16}}) {
    const PrecisionGuard guard(low.precision);
    CAPTURE(low.precision);
    for (const MlpCase& c : precision_cases()) {
      CAPTURE(c);
      const Inputs in = make_inputs(c, kFloat32);
      const auto round = [&](double x) { return rounded(x, low.dropped_bits); };
      const std::vector<Tensor> got = run(c, in).all(), want = slow(c, in), plain = slow(c, in, round);
      const double rest = dot_tolerance(kFloat32, c.inputs + c.hidden + c.outputs + c.positions);
      for (std::size_t i = 0; i < want.size(); ++i) {
        CAPTURE(i);
        const double error = largest_error(got[i], want[i]);
        CHECK(error <= 2 * largest_error(plain[i], want[i]) + rest);
        if (i < 2) CHECK(error > rest);  // it does round
      }
    }
  }
}

TEST_CASE("factor_mlp gives the same bits whenever it computes in the same precision") {
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    const PrecisionGuard guard(precision);
    CAPTURE(precision);
    for (const MlpCase& c : precision_cases()) {
      CAPTURE(c);
      const Inputs in = make_inputs(c, kFloat32);
      CHECK(same_for_any_thread_count([&] { return run(c, in).all(); }));
    }
  }
}

TEST_CASE("factor_mlp: dx is left out where nobody wants it") {
  const MlpCase c;
  const Inputs in = make_inputs(c, kFloat64);
  const auto grads = kernels::factor_mlp_grad(in.dout, in.x, in.mlp, {}, false);
  CHECK_FALSE(grads.dx.defined());
  CHECK(same_bits(grads.mlp.first, run(c, in).grads.mlp.first));
}

TEST_CASE("factor_mlp holds no hidden values") {
  const Index n = interpreted() ? 1024 : 8192;
  const MlpCase c{.factors = 8, .batch = 1, .positions = n, .inputs = 8, .hidden = 128, .outputs = 4};
  const Inputs in = make_inputs(c, kFloat32);
  reset_peak_memory(device());
  const std::size_t before = memory_stats(device()).current_bytes;
  const Results got = run(c, in);
  const auto rows = static_cast<std::size_t>(n), results = sizeof(float) * rows * (8 * 4 + 8);
  const std::size_t hidden = sizeof(float) * rows * 8 * 128;
  CHECK(memory_stats(device()).peak_bytes - before - results < hidden / 4);
}

TEST_CASE("factor_mlp names the argument that does not fit") {
  const auto t = [](const Shape& shape, DType dtype = kFloat32) { return zeros(shape, dtype, kCpu); };
  const Tensor x = t({2, 5, 3});
  const FactorMlp good = {t({4, 3, 6}), t({4, 6}), t({4, 6, 2}), t({4, 2})};
  const auto with = [&](auto change) {
    FactorMlp mlp = good;
    change(mlp);
    return kernels::factor_mlp(x, mlp);
  };
  CHECK(kernels::factor_mlp(x, good).shape() == Shape{4, 2, 5, 2});
  CHECK_THROWS_WITH_AS(kernels::factor_mlp(t({5, 3}), good), "factor_mlp: x is [5, 3] float32 cpu, expected rank 3",
                       ShapeError);
  CHECK_THROWS_WITH_AS(with([&](FactorMlp& mlp) {
                         mlp.first = t({4, 2, 6});
                       }),
                       "factor_mlp: first is [4, 2, 6] float32 cpu, expected [M, 3, H] with at least one input and H "
                       ">= 1 for x [2, 5, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      with([&](FactorMlp& mlp) {
        mlp.second = t({4, 5, 2});
      }),
      "factor_mlp: second is [4, 5, 2] float32 cpu, expected [4, 6, O] with O >= 1 for first [4, 3, 6]", ShapeError);
  CHECK_THROWS_AS(with([&](FactorMlp& mlp) { mlp.first_bias = t({6}); }), ShapeError);
  CHECK_THROWS_AS(with([&](FactorMlp& mlp) { mlp.second_bias = t({4, 3}); }), ShapeError);
  CHECK_THROWS_AS(with([&](FactorMlp& mlp) { mlp.second_bias = t({4, 2}, kFloat64); }), DTypeError);
  CHECK_THROWS_AS(kernels::factor_mlp(x, good, Mask::from_lengths(tensor<Index>({1}, {1}), 5)), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::factor_mlp_grad(t({4, 2, 5, 3}), x, good),
                       "factor_mlp_grad: dout is [4, 2, 5, 3] float32 cpu, expected shape [4, 2, 5, 2]", ShapeError);
}

}  // namespace subquad::test
