#include "subquad/kernels/layer_norm/layer_norm.h"

#include <doctest/doctest.h>

#include <cmath>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/rows.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

constexpr double kEps = 1e-5;

const std::vector<Shape> kShapes = {{0},     {1},        {6},     {0, 3},   {3, 0},   {1, 1},   {2, 3, 7}, {4, 16},
                                    {3, 17}, {2, 5, 32}, {3, 61}, {2, 128}, {15, 64}, {16, 63}, {17, 65},  {33, 96}};

kernels::LayerNorm reference(const Tensor& in, const Tensor& with_gamma, const Tensor& with_beta) {
  const Tensor x = doubles(in), gamma = doubles(with_gamma), beta = doubles(with_beta);
  const Index width = x.shape().back();
  const Shape rows = x.shape().without(x.rank() - 1);
  kernels::LayerNorm want = {zeros(x.shape(), kFloat64, kCpu), zeros(rows, kFloat64, kCpu),
                             zeros(rows, kFloat64, kCpu)};
  for (Index row = 0; row < rows.size(); ++row) {
    double mean = 0, variance = 0;
    for (Index d = 0; d < width; ++d) mean += at(x, row * width + d) / static_cast<double>(width);
    for (Index d = 0; d < width; ++d)
      variance += std::pow(at(x, row * width + d) - mean, 2) / static_cast<double>(width);
    const double rstd = 1 / std::sqrt(variance + kEps);
    for (Index d = 0; d < width; ++d)
      want.out.data<double>()[row * width + d] = (at(x, row * width + d) - mean) * rstd * at(gamma, d) + at(beta, d);
    want.mean.data<double>()[row] = mean;
    want.rstd.data<double>()[row] = rstd;
  }
  return want;
}

// By the Jacobian: d xhat[k] / d x[d] = rstd ((k == d) - 1/D - xhat[k] xhat[d] / D).
kernels::LayerNormGrads reference_grad(const Tensor& with_dout, const Tensor& of_x, const Tensor& with_gamma,
                                       const Tensor& mean, const Tensor& rstd) {
  const Tensor dout = doubles(with_dout), x = doubles(of_x), gamma = doubles(with_gamma);
  const Index width = x.shape().back(), rows = mean.size();
  kernels::LayerNormGrads want = {zeros(x.shape(), kFloat64, kCpu), zeros({width}, kFloat64, kCpu),
                                  zeros({width}, kFloat64, kCpu)};
  for (Index row = 0; row < rows; ++row) {
    const double m = at(mean, row), s = at(rstd, row), *in = x.data<double>() + row * width;
    auto hat = [&](Index d) { return (in[d] - m) * s; };
    double* dx = want.dx.data<double>() + row * width;
    for (Index k = 0; k < width; ++k) {
      const double up = at(dout, row * width + k), scale = at(gamma, k);
      want.dgamma.data<double>()[k] += up * hat(k);
      want.dbeta.data<double>()[k] += up;
      for (Index d = 0; d < width; ++d)
        dx[d] += up * scale * s * ((k == d) - (1 + hat(k) * hat(d)) / static_cast<double>(width));
    }
  }
  return want;
}

struct Inputs {
  Tensor x, residual, gamma, beta, dout, dsum;
};
Inputs inputs(const Shape& shape, DType dtype) {
  return {normal(shape, dtype, 1),          normal(shape, dtype, 2), uniform({shape.back()}, dtype, 0.5, 1.5, 3),
          normal({shape.back()}, dtype, 4), normal(shape, dtype, 5), normal(shape, dtype, 6)};
}

TEST_CASE("layer_norm equals the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : with_row_shapes(kShapes, {301, 33})) {
        CAPTURE(shape);
        const Inputs in = inputs(shape, dtype);
        const kernels::LayerNorm want = reference(in.x, in.gamma, in.beta);
        const kernels::LayerNorm got = kernels::layer_norm(in.x, in.gamma, in.beta, kEps);
        const double tolerance = dot_tolerance(dtype, shape.back());
        CHECK_CLOSE(got.out, want.out, tolerance);
        CHECK_CLOSE(got.mean, want.mean, tolerance);
        CHECK_CLOSE(got.rstd, want.rstd, tolerance);
      }
    });
  });
}

TEST_CASE("add_layer_norm is layer_norm of the sum, bit for bit") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : with_row_shapes(kShapes, {301, 33})) {
        CAPTURE(shape);
        const Inputs in = inputs(shape, dtype);
        const kernels::AddLayerNorm got = kernels::add_layer_norm(in.x, in.residual, in.gamma, in.beta, kEps);
        const Tensor residual = in.residual.to(kCpu);
        Tensor by_hand = in.x.to(kCpu).clone();
        visit_float("test", dtype, [&]<class T>(Type<T>) {
          for (Index i = 0; i < by_hand.size(); ++i) by_hand.data<T>()[i] += residual.data<T>()[i];
        });
        const Tensor sum = here(by_hand);
        CHECK(same_bits(got.sum, sum));
        const kernels::LayerNorm plain = kernels::layer_norm(sum, in.gamma, in.beta, kEps);
        CHECK(same_bits(got.out, plain.out));
        CHECK(same_bits(got.mean, plain.mean));
        CHECK(same_bits(got.rstd, plain.rstd));
      }
    });
  });
}

TEST_CASE("layer_norm_grad equals the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : with_row_shapes(kShapes, {301, 33})) {
        CAPTURE(shape);
        const Inputs in = inputs(shape, dtype);
        const kernels::LayerNorm norm = reference(in.x, in.gamma, in.beta);
        const kernels::LayerNormGrads want = reference_grad(in.dout, in.x, in.gamma, norm.mean, norm.rstd);
        const Tensor mean = here(norm.mean.to(dtype)), rstd = here(norm.rstd.to(dtype));
        const kernels::LayerNormGrads got = kernels::layer_norm_grad(in.dout, in.x, in.gamma, mean, rstd);
        const double tolerance = 2 * dot_tolerance(dtype, std::max(shape.back(), mean.size()));
        CHECK_CLOSE(got.dx, want.dx, tolerance);
        CHECK_CLOSE(got.dgamma, want.dgamma, tolerance);
        CHECK_CLOSE(got.dbeta, want.dbeta, tolerance);

        const kernels::LayerNormGrads more = kernels::layer_norm_grad(in.dout, in.x, in.gamma, mean, rstd, in.dsum);
        const Tensor dsum = doubles(in.dsum);
        Tensor with_dsum = want.dx.clone();
        for (Index i = 0; i < with_dsum.size(); ++i) with_dsum.data<double>()[i] += at(dsum, i);
        CHECK_CLOSE(more.dx, with_dsum, tolerance);
        CHECK(same_bits(more.dgamma, got.dgamma));
        CHECK(same_bits(more.dbeta, got.dbeta));
      }
    });
  });
}

TEST_CASE("layer_norm of rows that start anywhere") {
  for (const Index width : {60, 516, 1028}) {
    const Inputs in = inputs({9, width}, kFloat32);
    const double tolerance = 2 * dot_tolerance(kFloat32, width);
    const kernels::LayerNorm want = reference(in.x, in.gamma, in.beta);
    const Tensor x = unaligned(in.x), gamma = unaligned(in.gamma), beta = unaligned(in.beta);
    const kernels::LayerNorm got = kernels::layer_norm(x, in.gamma, in.beta, kEps);
    CHECK_CLOSE(got.out, want.out, tolerance);
    CHECK_CLOSE(kernels::layer_norm(in.x, gamma, in.beta, kEps).out, want.out, tolerance);
    CHECK_CLOSE(kernels::layer_norm(in.x, in.gamma, beta, kEps).out, want.out, tolerance);
    const kernels::LayerNormGrads grads = reference_grad(in.dout, in.x, in.gamma, want.mean, want.rstd);
    for (const Tensor& scale : {in.gamma, gamma}) {
      const auto aligned = kernels::layer_norm_grad(in.dout, in.x, scale, got.mean, got.rstd);
      const auto shifted = kernels::layer_norm_grad(unaligned(in.dout), x, scale, got.mean, got.rstd);
      for (const auto& g : {aligned, shifted}) {
        CHECK_CLOSE(g.dx, grads.dx, tolerance);
        CHECK_CLOSE(g.dgamma, grads.dgamma, tolerance);
        CHECK_CLOSE(g.dbeta, grads.dbeta, tolerance);
      }
    }
  }
}

TEST_CASE("layer_norm of constant rows is beta, of a large offset still exact") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Index width : {1, 3, 16, 37, 128}) {
        CAPTURE(width);
        const Inputs in = inputs({2, width}, dtype);
        const Tensor constant = full({2, width}, 0.75, dtype, device());
        const kernels::LayerNorm flat = kernels::layer_norm(constant, in.gamma, in.beta, kEps);
        for (Index i = 0; i < 2 * width; ++i)
          CHECK(at(flat.out, i) == doctest::Approx(at(in.beta, i % width)).epsilon(1e-6));

        Tensor made = zeros({2, width}, dtype, kCpu);  // 4096 + small integers: exact in float32, squares are not
        visit_float("test", dtype, [&]<class T>(Type<T>) {
          for (Index i = 0; i < made.size(); ++i) made.data<T>()[i] = static_cast<T>(4096 + i % 7);
        });
        const Tensor offset = here(made);
        CHECK_CLOSE(kernels::layer_norm(offset, in.gamma, in.beta, kEps).out, reference(offset, in.gamma, in.beta).out,
                    dtype == kFloat32 ? 2e-3 : 1e-11);
      }
    });
  });
}

TEST_CASE("layer_norm holds up to the magnitude that its contract names") {
  const Tensor gamma = full({4}, 1, kFloat32, device()), beta = zeros({4}, kFloat32, device());
  const Tensor x = here(tensor<float>({1e17f, -1e17f, 1, 2}, {1, 4}));
  const Tensor want = tensor<double>({std::sqrt(2.0), -std::sqrt(2.0), 0, 0}, {1, 4});
  for_each_simd_target(
      [&] { CHECK_CLOSE(kernels::layer_norm(x, gamma, beta, kEps).out, want, pointwise_tolerance(kFloat32)); });
}

TEST_CASE("layer_norm gives the same bits for any thread count") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : with_row_shapes({}, {1001, 67})) {
      const Inputs in = inputs(shape, dtype);
      CHECK(same_for_any_thread_count([&] {
        const kernels::AddLayerNorm y = kernels::add_layer_norm(in.x, in.residual, in.gamma, in.beta, kEps);
        const kernels::LayerNormGrads g = kernels::layer_norm_grad(in.dout, y.sum, in.gamma, y.mean, y.rstd, in.dsum);
        return std::vector<Tensor>{y.sum, y.out, y.mean, y.rstd, g.dx, g.dgamma, g.dbeta};
      }));
    }
  });
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("layer_norm names what is wrong") {
    const Tensor x = zeros({2, 3}, kFloat32, kCpu), gamma = zeros({3}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::layer_norm(x, zeros({2}, kFloat32, kCpu), gamma, kEps),
                         "layer_norm: gamma is [2] float32 cpu, expected shape [3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::layer_norm(x, gamma, zeros({3}, kFloat64, kCpu), kEps),
                         "layer_norm: beta is [3] float64 cpu, expected float32 like x", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::layer_norm(x, gamma, gamma, 0), "layer_norm: eps is 0, expected > 0", Error);
    CHECK_THROWS_WITH_AS(kernels::layer_norm(zeros({}, kFloat32, kCpu), gamma, gamma, kEps),
                         "layer_norm: x is [] float32 cpu, expected at least one dimension", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::add_layer_norm(x, zeros({3, 2}, kFloat32, kCpu), gamma, gamma, kEps),
                         "add_layer_norm: residual is [3, 2] float32 cpu, expected shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::layer_norm_grad(x, x, gamma, zeros({3}, kFloat32, kCpu), zeros({2}, kFloat32, kCpu)),
                         "layer_norm_grad: mean is [3] float32 cpu, expected shape [2]", ShapeError);
  }
}

}  // namespace
}  // namespace subquad::test
