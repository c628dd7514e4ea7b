#include "subquad/kernels/linear/linear.h"

#include <array>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {

using kernels::linear;
using kernels::linear_grad_bias;
using kernels::linear_grad_weight;

namespace {

Tensor slow_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Index inputs = weight.dim(0), outputs = weight.dim(1);
  Index rows = 1;
  for (int d = 0; d + 1 < x.rank(); ++d) rows *= x.dim(d);
  Tensor out = zeros(x.shape().with(x.rank() - 1, outputs), kFloat64, kCpu);
  const Tensor from = doubles(x), factor = doubles(weight), start = bias.defined() ? doubles(bias) : Tensor();
  for (Index row = 0; row < rows; ++row) {
    for (Index o = 0; o < outputs; ++o) {
      double sum = bias.defined() ? start.data<double>()[o] : 0;
      for (Index i = 0; i < inputs; ++i)
        sum += from.data<double>()[row * inputs + i] * factor.data<double>()[i * outputs + o];
      out.data<double>()[row * outputs + o] = sum;
    }
  }
  return out;
}

Tensor slow_grad_weight(const Tensor& dout, const Tensor& x) {
  const Index inputs = x.dim(-1), outputs = dout.dim(-1);
  Index rows = 1;
  for (int d = 0; d + 1 < x.rank(); ++d) rows *= x.dim(d);
  Tensor out = zeros({inputs, outputs}, kFloat64, kCpu);
  const Tensor from = doubles(x), upstream = doubles(dout);
  for (Index i = 0; i < inputs; ++i) {
    for (Index o = 0; o < outputs; ++o) {
      for (Index row = 0; row < rows; ++row)
        out.data<double>()[i * outputs + o] +=
            from.data<double>()[row * inputs + i] * upstream.data<double>()[row * outputs + o];
    }
  }
  return out;
}

Tensor slow_column_sums(const Tensor& t) {
  Tensor out = zeros({t.dim(-1)}, kFloat64, kCpu);
  const Tensor from = doubles(t);
  for (Index i = 0; i < t.size(); ++i) out.data<double>()[i % t.dim(-1)] += from.data<double>()[i];
  return out;
}

const std::vector<Shape> kInputs = {{5},    {1, 1},    {7, 5},      {0, 5},       {3, 0},
                                    {2, 3}, {2, 0, 4}, {3, 11, 13}, {2, 3, 5, 7}, {2053, 3}};

}  // namespace

TEST_CASE("linear equals the double loop") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : kInputs) {
      for (const Index outputs : {0, 1, 6, 17}) {
        CAPTURE(shape);
        CAPTURE(outputs);
        const Tensor x = normal(shape, dtype, 1), weight = normal({shape.back(), outputs}, dtype, 2);
        const Tensor bias = normal({outputs}, dtype, 3);
        const double tolerance = dot_tolerance(dtype, shape.back() + 1);
        CHECK_CLOSE(linear(x, weight, bias), slow_linear(x, weight, bias), tolerance);
        CHECK_CLOSE(linear(x, weight, Tensor()), slow_linear(x, weight, Tensor()), tolerance);
      }
    }
  });
}

TEST_CASE("linear adds the bias once however the product is cut") {
  for_each_float([](DType dtype) {
    for (const auto& [rows, inputs, outputs] : {std::array<Index, 3>{193, 19, 4101},
                                                {9, 24, 800},
                                                {3, 2100, 5},
                                                {700, 40, 24},
                                                {50, 513, 49},
                                                {200, 64, 64}}) {
      const Tensor x = normal({rows, inputs}, dtype, 1), weight = normal({inputs, outputs}, dtype, 2);
      const Tensor bias = normal({outputs}, dtype, 3);
      Tensor sum = doubles(linear(x, weight, Tensor())).clone();
      const Tensor each = doubles(bias);
      for (Index i = 0; i < rows * outputs; ++i) sum.data<double>()[i] += each.data<double>()[i % outputs];
      CHECK_CLOSE(linear(x, weight, bias), sum, dot_tolerance(dtype, inputs));
    }
  });
}

TEST_CASE("linear reads transposed weights and slices of rows where they lie") {
  const Tensor x = normal({6, 10}, kFloat32, 1).slice(1, 2, 9), weight = normal({4, 7}, kFloat32, 2).transpose(0, 1);
  Tensor out = linear(x, weight, Tensor());  // the first product of a GPU makes room for cuBLAS
  const std::uint64_t before = memory_stats(device()).allocations;
  out = linear(x, weight, Tensor());
  CHECK_EQ(memory_stats(device()).allocations - before, 1);
  CHECK_CLOSE(out, slow_linear(x, weight, Tensor()), dot_tolerance(kFloat32, 7));
  const Tensor heads = normal({2, 3, 5, 7}, kFloat32, 3).transpose(1, 2);
  CHECK_CLOSE(linear(heads, weight, Tensor()), slow_linear(heads, weight, Tensor()), dot_tolerance(kFloat32, 7));
}

TEST_CASE("linear_grad_weight and linear_grad_bias equal their loops") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : kInputs) {
      for (const Index outputs : {0, 1, 6}) {
        CAPTURE(shape);
        CAPTURE(outputs);
        const Tensor x = normal(shape, dtype, 1);
        const Tensor dout = normal(shape.with(shape.rank() - 1, outputs), dtype, 2);
        const double tolerance = dot_tolerance(dtype, shape.size());
        CHECK_CLOSE(linear_grad_weight(dout, x), slow_grad_weight(dout, x), tolerance);
        CHECK_CLOSE(linear_grad_bias(dout), slow_column_sums(dout), tolerance);
      }
    }
    const Tensor turned = normal({7, 301}, dtype, 3).transpose(0, 1);
    CHECK_CLOSE(linear_grad_bias(turned), slow_column_sums(turned), dot_tolerance(dtype, 301));
  });
}

TEST_CASE("linear and its gradients give the same bits with any number of threads") {
  for_each_float([](DType dtype) {
    for (const Index outputs : {80, 37}) {
      const Tensor x = normal({3000, 24}, dtype, 1), weight = normal({24, outputs}, dtype, 2);
      const Tensor bias = normal({outputs}, dtype, 3), dout = normal({3000, outputs}, dtype, 4);
      CHECK(same_for_any_thread_count([&] {
        return std::vector<Tensor>{linear(x, weight, bias), linear_grad_weight(dout, x), linear_grad_bias(dout)};
      }));
    }
  });
}

TEST_CASE("linear_grad_bias adds long columns, narrow and wide") {
  for_each_float([](DType dtype) {
    for (const auto& [rows, outputs] : {std::array<Index, 2>{257, 200}, {513, 1}, {700, 131}, {1025, 16}, {2, 264}}) {
      CAPTURE(rows);
      CAPTURE(outputs);
      const Tensor dout = normal({rows, outputs}, dtype, 1);
      CHECK_CLOSE(linear_grad_bias(dout), slow_column_sums(dout), dot_tolerance(dtype, rows));
      const Tensor part =
          normal({rows, outputs + 8}, dtype, 2).slice(1, 1, outputs + 1);  // rows with gaps, not aligned
      CHECK_CLOSE(linear_grad_bias(part), slow_column_sums(part), dot_tolerance(dtype, rows));
    }
  });
}

TEST_CASE("linear complains about shapes and dtypes") {
  const Tensor x = zeros({2, 4, 5}, kFloat32, kCpu), weight = zeros({5, 3}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(linear(x, zeros({4, 3}, kFloat32, kCpu), Tensor()),
                       "linear: x is [2, 4, 5] float32 cpu, expected [..., 4] for weight [4, 3] = [I, O]", ShapeError);
  CHECK_THROWS_WITH_AS(linear(x, zeros({5}, kFloat32, kCpu), Tensor()),
                       "linear: weight is [5] float32 cpu, expected rank 2", ShapeError);
  CHECK_THROWS_WITH_AS(linear(x, weight, zeros({5}, kFloat32, kCpu)),
                       "linear: bias is [5] float32 cpu, expected shape [3]", ShapeError);
  CHECK_THROWS_WITH_AS(linear(x, zeros({5, 3}, kFloat64, kCpu), Tensor()),
                       "linear: weight is [5, 3] float64 cpu, expected float32 like x", DTypeError);
  CHECK_THROWS_WITH_AS(linear(zeros({}, kFloat32, kCpu), weight, Tensor()),
                       "linear: x is [] float32 cpu, expected [..., D]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_grad_weight(zeros({3, 4, 3}, kFloat32, kCpu), x),
                       "linear_grad_weight: dout is [3, 4, 3] float32 cpu, expected shape [2, 4, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(linear_grad_bias(zeros({3}, kInt64, kCpu)),
                       "linear_grad_bias: dout is [3] int64 cpu, expected float32 or float64", DTypeError);
}

}  // namespace subquad::test
