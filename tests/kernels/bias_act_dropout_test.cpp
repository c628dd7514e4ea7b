#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/rows.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::Activation;

const std::vector<Shape> kShapes = {{0, 3},       {3, 0},      {1, 1},      {2, 5},       {2, 3, 7},   {4, 16},
                                    {3, 17},      {1, 64},     {2, 3, 66},  {2, 1, 97},   {2, 130},    {2, 2, 3, 5},
                                    {2, 19, 140}, {3, 90, 33}, {1, 15, 64}, {1, 17, 128}, {1, 16, 257}};
constexpr Activation kActivations[] = {Activation::none, Activation::relu, Activation::gelu};

RandomState random_state(Index batch) {
  Tensor samples = zeros({batch}, kInt64, kCpu);
  for (Index b = 0; b < batch; ++b) samples.data<std::int64_t>()[b] = 1000 - 17 * b;
  return {
      .seed = 5, .stream = stream_id("layer"), .step = here(tensor<std::int64_t>({42}, {1})), .samples = here(samples)};
}

RandomState on_cpu(const RandomState& rng) {
  return rng.defined() ? RandomState{rng.seed, rng.stream, rng.step.to(kCpu), rng.samples.to(kCpu)} : rng;
}

// keep / (1 - p) of every element, word by word as core/rng.h writes it.
Tensor reference_factors(const Shape& shape, double p, const RandomState& state) {
  const RandomState rng = on_cpu(state);
  Tensor out = full(shape, 1, kFloat64, kCpu);
  if (p == 0 || out.size() == 0) return out;
  const Index width = shape.back(), positions = out.size() / (shape[0] * width);
  for (Index i = 0; i < out.size(); ++i) {
    const auto f = static_cast<std::uint32_t>(i % width);
    const auto position = static_cast<std::uint32_t>(i / width % positions);
    const auto sample = static_cast<std::uint32_t>(at(rng.samples, i / width / positions));
    const auto step = static_cast<std::uint32_t>(at(rng.step, 0));
    const PhiloxCounter words = philox4x32({f / 4, position, sample, step}, philox_key(rng.seed, rng.stream));
    out.data<double>()[i] = uniform_float(words[f % 4]) >= p ? 1 / (1 - p) : 0;
  }
  return out;
}

double act(Activation activation, double z) {
  if (activation == Activation::relu) return std::max(z, 0.0);
  if (activation == Activation::gelu) return z / 2 * std::erfc(-z / std::numbers::sqrt2);
  return z;
}

double slope(Activation activation, double z) {
  if (activation == Activation::relu) return z > 0 ? 1 : 0;
  if (activation == Activation::gelu)
    return std::erfc(-z / std::numbers::sqrt2) / 2 + z * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
  return 1;
}

// f(factor of the element, x + bias), times dout if there is one.
Tensor reference(const Tensor& with_x, const Tensor& with_bias, const Tensor& factors, const Tensor& with_dout,
                 double (*f)(Activation, double), Activation activation) {
  const Tensor x = doubles(with_x), bias = with_bias.defined() ? doubles(with_bias) : with_bias;
  const Tensor dout = with_dout.defined() ? doubles(with_dout) : with_dout;
  Tensor out = empty(x.shape(), kFloat64, kCpu);
  for (Index i = 0; i < x.size(); ++i) {
    const double z = at(x, i) + (bias.defined() ? at(bias, i % x.shape().back()) : 0);
    out.data<double>()[i] = at(factors, i) * f(activation, z) * (dout.defined() ? at(dout, i) : 1);
  }
  return out;
}

TEST_CASE("bias_act_dropout equals the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : kShapes)
        for (const Activation activation : kActivations)
          for (const double p : {0.0, 0.1, 0.75}) {
            CAPTURE(shape);
            CAPTURE(p);
            CAPTURE(static_cast<int>(activation));
            const Tensor x = uniform(shape, dtype, -4, 4, 1), bias = normal({shape.back()}, dtype, 2);
            const RandomState rng = p == 0 ? RandomState() : random_state(shape[0]);
            const Tensor factors = reference_factors(shape, p, rng);
            CHECK_CLOSE(kernels::bias_act_dropout(x, bias, activation, p, rng),
                        reference(x, bias, factors, {}, act, activation), pointwise_tolerance(dtype));
            CHECK_CLOSE(kernels::bias_act_dropout(x, {}, activation, p, rng),
                        reference(x, {}, factors, {}, act, activation), pointwise_tolerance(dtype));
          }
    });
  });
}

TEST_CASE("bias_act_dropout adds a residual last") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : kShapes) {
        CAPTURE(shape);
        const Tensor x = normal(shape, dtype, 1), bias = normal({shape.back()}, dtype, 2);
        const Tensor residual = normal(shape, dtype, 3);
        const RandomState rng = random_state(shape[0]);
        for (const double p : {0.0, 0.25})
          for (const Tensor& shift : {bias, Tensor()}) {
            const Tensor alone = kernels::bias_act_dropout(x, shift, Activation::gelu, p, rng);
            const Tensor sum = kernels::bias_act_dropout(x, shift, Activation::gelu, p, rng, residual);
            CHECK_CLOSE(sum, kernels::add(alone, residual), pointwise_tolerance(dtype));
            if (device().is_cpu()) CHECK(same_bits(sum, kernels::add(alone, residual)));
          }
      }
    });
  });
}

TEST_CASE("bias_act_dropout_grad equals the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : kShapes)
        for (const Activation activation : kActivations)
          for (const double p : {0.0, 0.1, 0.75}) {
            CAPTURE(shape);
            CAPTURE(p);
            CAPTURE(static_cast<int>(activation));
            const Tensor x = uniform(shape, dtype, -4, 4, 1), bias = normal({shape.back()}, dtype, 2);
            const Tensor dout = normal(shape, dtype, 3);
            const RandomState rng = p == 0 ? RandomState() : random_state(shape[0]);
            const Tensor factors = reference_factors(shape, p, rng);

            const auto got = kernels::bias_act_dropout_grad(dout, x, bias, activation, p, rng);
            const Tensor want = reference(x, bias, factors, dout, slope, activation);
            Tensor want_bias = zeros({shape.back()}, kFloat64, kCpu);
            for (Index i = 0; i < x.size(); ++i) want_bias.data<double>()[i % shape.back()] += at(want, i);
            CHECK_CLOSE(got.dx, want, pointwise_tolerance(dtype));
            CHECK_CLOSE(got.dbias, want_bias, dot_tolerance(dtype, x.size() / std::max<Index>(shape.back(), 1)));

            const auto unbiased = kernels::bias_act_dropout_grad(dout, x, {}, activation, p, rng);
            CHECK_CLOSE(unbiased.dx, reference(x, {}, factors, dout, slope, activation), pointwise_tolerance(dtype));
            CHECK_FALSE(unbiased.dbias.defined());

            kernels::KeptMask mask;
            const Tensor out = kernels::bias_act_dropout(x, bias, activation, p, rng, {}, &mask);
            CHECK(same_bits(out, kernels::bias_act_dropout(x, bias, activation, p, rng)));
            CHECK_EQ(mask.bits.defined(), device().is_cpu() && p > 0 && x.size() > 0);
            const auto known = kernels::bias_act_dropout_grad(dout, x, bias, activation, p, rng, mask);
            CHECK(same_bits(known.dx, got.dx));
            CHECK(same_bits(known.dbias, got.dbias));
          }
    });
  });
}

TEST_CASE("bias_act_dropout of a vector is that of one row") {
  const Tensor x = normal({5}, kFloat32, 1), bias = normal({5}, kFloat32, 2), dout = normal({5}, kFloat32, 3);
  const Tensor row = x.unsqueeze(0), drow = dout.unsqueeze(0);
  CHECK(same_bits(kernels::bias_act_dropout(x, bias, Activation::gelu, 0, {}).unsqueeze(0),
                  kernels::bias_act_dropout(row, bias, Activation::gelu, 0, {})));
  const auto got = kernels::bias_act_dropout_grad(dout, x, bias, Activation::gelu, 0, {});
  const auto want = kernels::bias_act_dropout_grad(drow, row, bias, Activation::gelu, 0, {});
  CHECK(same_bits(got.dx.unsqueeze(0), want.dx));
  CHECK(same_bits(got.dbias, want.dbias));
}

TEST_CASE("bias_act_dropout of extreme pre-activations") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const Tensor x =
          here(tensor<float>({-1e30f, -100, -6, -1e-30f, -0.f, 0, 1e-30f, 6, 100, 1e30f}, {1, 10}).to(dtype));
      const Tensor ones = full({1, 10}, 1, dtype, device()), factors = full({1, 10}, 1, kFloat64, kCpu);
      for (const Activation activation : kActivations) {
        CAPTURE(static_cast<int>(activation));
        const Tensor got = kernels::bias_act_dropout(x, {}, activation, 0, {});
        const Tensor want = reference(x, {}, factors, {}, act, activation);
        CHECK_CLOSE(got.slice(1, 1, 9), want.slice(1, 1, 9), pointwise_tolerance(dtype));
        CHECK(at(got, 9) == doctest::Approx(1e30));
        CHECK(at(got, 0) == (activation == Activation::none ? doctest::Approx(-1e30) : doctest::Approx(0)));
        CHECK_CLOSE(kernels::bias_act_dropout_grad(ones, x, {}, activation, 0, {}).dx,
                    reference(x, {}, factors, {}, slope, activation), pointwise_tolerance(dtype));
      }
    });
  });
}

TEST_CASE("bias_act_dropout of rows that start anywhere") {
  const Tensor x = normal({2, 19, 140}, kFloat32, 1), bias = normal({140}, kFloat32, 2);
  const Tensor dout = normal(x.shape(), kFloat32, 3);
  const RandomState rng = random_state(2);
  const double tolerance = pointwise_tolerance(kFloat32);
  const Tensor out = kernels::bias_act_dropout(x, bias, Activation::gelu, 0.2, rng);
  CHECK_CLOSE(kernels::bias_act_dropout(unaligned(x), bias, Activation::gelu, 0.2, rng), out, tolerance);
  CHECK_CLOSE(kernels::bias_act_dropout(x, unaligned(bias), Activation::gelu, 0.2, rng), out, tolerance);
  const auto want = kernels::bias_act_dropout_grad(dout, x, bias, Activation::gelu, 0.2, rng);
  const auto got = kernels::bias_act_dropout_grad(unaligned(dout), x, bias, Activation::gelu, 0.2, rng);
  CHECK_CLOSE(got.dx, want.dx, tolerance);
  CHECK_CLOSE(got.dbias, want.dbias, dot_tolerance(kFloat32, 38));
}

TEST_CASE("bias_act_dropout drops what dropout drops") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const Tensor x = normal({2, 5, 333}, dtype, 1);
      const RandomState rng = random_state(2);
      for (const double p : {1e-12, 0.3, 1 - 1e-12}) {  // at the ends a word's 24 bits cannot tell p from 0 or 1
        const Tensor factors = reference_factors(x.shape(), p, rng);
        const Tensor got = kernels::bias_act_dropout(x, {}, Activation::none, p, rng);
        CHECK_CLOSE(got, reference(x, {}, factors, {}, act, Activation::none), pointwise_tolerance(dtype));
        CHECK(same_bits(got, kernels::dropout(x, p, rng)));
        CHECK(same_bits(got, kernels::bias_act_dropout(x.to(kCpu), {}, Activation::none, p, on_cpu(rng))));
      }
    });
  });
}

TEST_CASE("bias_act_dropout draws per sample, not per place in the batch") {
  const Tensor x = full({2, 3, 50}, 1, kFloat32, device());
  RandomState rng = random_state(2);
  const Tensor both = kernels::bias_act_dropout(x, {}, Activation::none, 0.5, rng);
  rng.samples = rng.samples.slice(0, 1, 2);
  const Tensor second = kernels::bias_act_dropout(x.slice(0, 1, 2), {}, Activation::none, 0.5, rng);
  CHECK(same_bits(both.slice(0, 1, 2), second));
}

TEST_CASE("bias_act_dropout gives the same bits for any thread count") {
  const Index positions = interpreted() ? 9 : 200;
  for_each_float([&](DType dtype) {
    for (const Index width : {67, 140}) {  // element by element, and four at a time
      const Tensor x = normal({5, positions, width}, dtype, 1), bias = normal({width}, dtype, 2),
                   dout = normal(x.shape(), dtype, 3);
      const RandomState rng = random_state(5);
      CHECK(same_for_any_thread_count([&] {
        const auto g = kernels::bias_act_dropout_grad(dout, x, bias, Activation::gelu, 0.2, rng);
        return std::vector<Tensor>{kernels::bias_act_dropout(x, bias, Activation::gelu, 0.2, rng), g.dx, g.dbias};
      }));
    }
  });
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("bias_act_dropout names what is wrong") {
    const Tensor x = zeros({2, 3}, kFloat32, kCpu), bias = zeros({3}, kFloat32, kCpu);
    const RandomState rng = random_state(2);
    CHECK_THROWS_WITH_AS(kernels::bias_act_dropout(x, zeros({2}, kFloat32, kCpu), Activation::relu, 0, {}),
                         "bias_act_dropout: bias is [2] float32 cpu, expected shape [3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::bias_act_dropout(x, bias, Activation::relu, 1, rng),
                         "bias_act_dropout: probability is 1, expected 0 <= probability < 1", Error);
    CHECK_THROWS_WITH_AS(kernels::bias_act_dropout(x, bias, Activation::relu, 0.5, {}),
                         "bias_act_dropout: random.step is undefined", Error);
    CHECK_THROWS_WITH_AS(kernels::bias_act_dropout(x, bias, Activation::relu, 0.5, random_state(3)),
                         "bias_act_dropout: random.samples is [3] int64 cpu, expected shape [2]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::bias_act_dropout(zeros({3}, kFloat32, kCpu), bias, Activation::relu, 0.5, rng),
                         "bias_act_dropout: x is [3] float32 cpu, expected [B, ..., D] for dropout", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::bias_act_dropout(x, bias, Activation::relu, 0, {}, zeros({3, 2}, kFloat32, kCpu)),
                         "bias_act_dropout: residual is [3, 2] float32 cpu, expected shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(
        kernels::bias_act_dropout_grad(zeros({2, 4}, kFloat32, kCpu), x, bias, Activation::relu, 0, {}),
        "bias_act_dropout_grad: dout is [2, 4] float32 cpu, expected shape [2, 3]", ShapeError);
  }
}

}  // namespace
}  // namespace subquad::test
