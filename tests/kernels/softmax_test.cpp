#include "subquad/kernels/softmax/softmax.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/rows.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const std::vector<Shape> kShapes = {{0},     {1},     {5},     {0, 3},  {3, 0},   {1, 1},    {2, 3, 7},
                                    {4, 16}, {3, 17}, {2, 31}, {2, 64}, {5, 101}, {1, 1000}, {3, 16, 33}};

Index width_of(const Tensor& t) {
  return t.shape().back();
}

struct Rows {  // float64, by the definitions
  Tensor softmax, log_softmax;
};
Rows reference(const Tensor& x) {
  const Tensor in = doubles(x);
  Rows out = {empty_like(in), empty_like(in)};
  const Index width = width_of(x);
  for (Index row = 0; width > 0 && row < x.size() / width; ++row) {
    const double* from = in.data<double>() + row * width;
    double* p = out.softmax.data<double>() + row * width;
    double* log_p = out.log_softmax.data<double>() + row * width;
    double top = -kInfinity, sum = 0;
    for (Index c = 0; c < width; ++c) top = std::max(top, from[c]);
    for (Index c = 0; c < width; ++c) sum += top == -kInfinity ? 0 : std::exp(from[c] - top);
    for (Index c = 0; c < width; ++c) {
      p[c] = top == -kInfinity ? 0 : std::exp(from[c] - top) / sum;
      log_p[c] = top == -kInfinity ? -kInfinity : from[c] - top - std::log(sum);
    }
  }
  return out;
}

// sum_k dout[k] d y[k] / d x[c], with the whole Jacobian written out: p[k] ((c == k) - p[c]) and (c == k) - p[c].
Rows reference_grad(const Tensor& dout, const Tensor& probability) {
  const Tensor up = doubles(dout), probabilities = doubles(probability);
  Rows out = {zeros_like(up), zeros_like(up)};
  const Index width = width_of(up);
  for (Index row = 0; width > 0 && row < up.size() / width; ++row) {
    const double *g = up.data<double>() + row * width, *p = probabilities.data<double>() + row * width;
    for (Index c = 0; c < width; ++c) {
      double softmax = 0, log_softmax = 0;
      for (Index k = 0; k < width; ++k) {
        const double delta = c == k ? 1 : 0;
        softmax += g[k] * p[k] * (delta - p[c]);
        log_softmax += g[k] * (delta - p[c]);
      }
      out.softmax.data<double>()[row * width + c] = softmax;
      out.log_softmax.data<double>()[row * width + c] = log_softmax;
    }
  }
  return out;
}

TEST_CASE("softmax and log_softmax equal the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : with_row_shapes(kShapes, {700, 67})) {
        CAPTURE(shape);
        const Tensor x = uniform(shape, dtype, -5, 5, 3);
        const Rows want = reference(x);
        CHECK_CLOSE(kernels::softmax(x), want.softmax, pointwise_tolerance(dtype));
        CHECK_CLOSE(kernels::log_softmax(x), want.log_softmax, pointwise_tolerance(dtype));
      }
    });
  });
}

TEST_CASE("softmax and log_softmax gradients equal the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : with_row_shapes(kShapes, {700, 67})) {
        if (shape.size() > 20'000) continue;  // the reference is quadratic
        CAPTURE(shape);
        const Tensor x = uniform(shape, dtype, -3, 3, 5), dout = normal(shape, dtype, 6);
        const Rows y = reference(x), want = reference_grad(dout, y.softmax);
        const double tolerance = dot_tolerance(dtype, shape.back());
        CHECK_CLOSE(kernels::softmax_grad(dout, here(y.softmax.to(dtype))), want.softmax, tolerance);
        CHECK_CLOSE(kernels::log_softmax_grad(dout, here(y.log_softmax.to(dtype))), want.log_softmax, 4 * tolerance);
      }
    });
  });
}

TEST_CASE("softmax and log_softmax of rows that start anywhere") {
  for (const Index width : {60, 516, 1028}) {
    const Tensor x = unaligned(uniform({3, width}, kFloat32, -3, 3, 5)), dout = normal({3, width}, kFloat32, 6);
    const Rows y = reference(x), want = reference_grad(dout, y.softmax);
    const double tolerance = dot_tolerance(kFloat32, width);
    const Tensor p = kernels::softmax(x), log_p = kernels::log_softmax(x);
    CHECK_CLOSE(p, y.softmax, pointwise_tolerance(kFloat32));
    CHECK_CLOSE(log_p, y.log_softmax, pointwise_tolerance(kFloat32));
    CHECK_CLOSE(kernels::softmax_grad(unaligned(dout), p), want.softmax, tolerance);
    CHECK_CLOSE(kernels::log_softmax_grad(dout, unaligned(log_p)), want.log_softmax, 4 * tolerance);
  }
}

TEST_CASE("softmax keeps small probabilities to full relative precision") {
  for_each_simd_target([] {
    const Tensor x = uniform({4, 37}, kFloat32, -60, 0, 9);
    const Tensor in = doubles(x), got = doubles(kernels::softmax(x)), want = reference(x).softmax;
    for (Index i = 0; i < x.size(); ++i) {
      const double exponent_rounding = 2 * std::fabs(at(in, i)) * 0x1p-24;  // the exponent is rounded once or twice
      CHECK(std::fabs(at(got, i) / at(want, i) - 1) < pointwise_tolerance(kFloat32) + exponent_rounding);
    }
  });
}

TEST_CASE("softmax of extreme rows") {
  const auto inf = std::numeric_limits<float>::infinity();
  for_each_simd_target([&] {
    for_each_float([&](DType dtype) {
      for (const Index width : {1, 3, 16, 19, 64}) {
        CAPTURE(width);
        Tensor x = full({6, width}, -inf, kFloat32, kCpu);  // row 0: nothing but -inf
        float* row = x.data<float>();
        for (Index c = 0; c < width; ++c) {
          row[1 * width + c] = 1e30f;                            // constant and huge
          row[2 * width + c] = c == width / 2 ? 3e38f : -3e38f;  // differences that overflow
          row[3 * width + c] = c == width - 1 ? -7.f : -inf;     // one finite
          row[4 * width + c] = -100.f * static_cast<float>(c);   // exponentials that underflow
          row[5 * width + c] = c % 2 ? -inf : 0.25f * static_cast<float>(c);
        }
        const Tensor in = here(x.to(dtype));
        const Rows want = reference(in);
        CHECK_CLOSE(kernels::softmax(in), want.softmax, pointwise_tolerance(dtype));
        const Tensor log_p = kernels::log_softmax(in), dout = normal(in.shape(), dtype, 4);
        // row 2 reaches -6e38, which only float64 can hold: compare it apart from the ordinary numbers
        CHECK_CLOSE(log_p.slice(0, 0, 2), want.log_softmax.slice(0, 0, 2), pointwise_tolerance(dtype));
        CHECK_CLOSE(log_p.slice(0, 3, 6), want.log_softmax.slice(0, 3, 6), pointwise_tolerance(dtype));
        CHECK(at(log_p, {2, width / 2}) == 0);
        if (width > 1) CHECK(at(log_p, {2, 0}) <= -3e38);

        Tensor p_grad = kernels::softmax_grad(dout, kernels::softmax(in));
        Tensor log_grad = kernels::log_softmax_grad(dout, log_p);
        Rows want_grad = reference_grad(dout, want.softmax);
        Tensor dead = want_grad.log_softmax.select(0, 0);
        fill(dead, 0);
        CHECK_CLOSE(p_grad, want_grad.softmax, dot_tolerance(dtype, width));
        CHECK_CLOSE(log_grad, want_grad.log_softmax, dot_tolerance(dtype, width));
      }
    });
  });
}

TEST_CASE("softmax passes on a NaN") {
  for_each_simd_target([] {
    for (const Index where : {0, 3, 20}) {
      Tensor made = normal({1, 21}, kFloat32, 1).to(kCpu);
      made.data<float>()[where] = std::numeric_limits<float>::quiet_NaN();
      const Tensor x = here(made);
      CHECK(std::isnan(at(kernels::softmax(x), where)));
      CHECK(std::isnan(at(kernels::log_softmax(x), where)));
    }
  });
}

TEST_CASE("softmax gives the same bits for any thread count") {
  for_each_float([&](DType dtype) {
    for (const Shape& shape : with_row_shapes({}, {997, 129})) {
      const Tensor x = normal(shape, dtype, 2), dout = normal(shape, dtype, 3);
      CHECK(same_for_any_thread_count([&] {
        const Tensor p = kernels::softmax(x), log_p = kernels::log_softmax(x);
        return std::vector<Tensor>{p, log_p, kernels::softmax_grad(dout, p), kernels::log_softmax_grad(dout, log_p)};
      }));
    }
  });
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("softmax names what is wrong") {
    CHECK_THROWS_WITH_AS(kernels::softmax(Tensor()), "softmax: x is undefined", Error);
    CHECK_THROWS_WITH_AS(kernels::softmax(zeros({}, kFloat32, kCpu)),
                         "softmax: x is [] float32 cpu, expected at least one dimension", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::softmax(zeros({2, 3}, kInt64, kCpu)),
                         "softmax: x is [2, 3] int64 cpu, expected float32 or float64", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::log_softmax(zeros({2, 3}, kFloat32, kCpu).transpose(0, 1)),
                         "log_softmax: x is [3, 2] float32 cpu with strides [1, 3], expected contiguous", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::softmax_grad(zeros({2, 4}, kFloat32, kCpu), zeros({2, 3}, kFloat32, kCpu)),
                         "softmax_grad: dout is [2, 4] float32 cpu, expected shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::log_softmax_grad(zeros({2, 3}, kFloat64, kCpu), zeros({2, 3}, kFloat32, kCpu)),
                         "log_softmax_grad: y is [2, 3] float32 cpu, expected float64 like dout", DTypeError);
  }
}

}  // namespace
}  // namespace subquad::test
