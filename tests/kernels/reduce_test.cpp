#include "subquad/kernels/reduce/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad {
namespace {

using namespace subquad::test;

struct ReduceCase {
  Shape shape;
  std::vector<int> axes;  // empty = all
};

std::vector<ReduceCase> cases() {
  const Index columns = interpreted() ? 70 : 1100, width = interpreted() ? 500 : 5000,
              many = interpreted() ? 20'000 : 40'000;
  return {
      {{}, {}},
      {{1}, {}},
      {{7}, {0}},
      {{0}, {}},
      {{3, 0}, {1}},
      {{3, 0}, {0}},
      {{0, 5, 2}, {1}},
      {{5, 7}, {0}},
      {{5, 7}, {1}},
      {{5, 7}, {-1}},
      {{5, 7}, {1, 0}},
      {{2, 3, 5}, {1}},
      {{2, 3, 5, 7}, {0, 2}},
      {{2, 3, 5, 7}, {1, 3}},
      {{2, 3, 5, 7}, {-1, 1, 0}},
      {{4, 1, 6}, {1}},
      {{2500}, {}},
      {{2, 1500, 3}, {1}},
      {{3, 2049}, {1}},
      {{1025, columns}, {0}},
      {{2, 7, width}, {1}},
      {{700, 10}, {1}},  // more short rows than fit a block
      {{3, 33, 64, 2}, {1}},
      {{many + 4}, {}},
      {{many + 3}, {}},
  };
}

struct Reference {
  Tensor sums, values, indices;  // keepdim shape
  Index count = 1;
};

// One pass over x in row-major order: each element finds its result by its own index.
Reference slow_reduce(const Tensor& input, const std::vector<int>& axes) {
  const Shape& shape = input.shape();
  const int rank = shape.rank();
  std::vector<bool> reduced(static_cast<std::size_t>(rank), axes.empty());
  for (const int axis : axes) reduced[static_cast<std::size_t>(axis < 0 ? axis + rank : axis)] = true;
  Reference out;
  Shape kept = shape;
  for (int d = 0; d < rank; ++d)
    if (reduced[static_cast<std::size_t>(d)]) {
      out.count *= shape[d];
      kept[d] = 1;
    }
  out.sums = zeros(kept, kFloat64, kCpu);
  out.values = full(kept, -std::numeric_limits<double>::infinity(), kFloat64, kCpu);
  out.indices = zeros(kept, kInt64, kCpu);
  const Tensor x = doubles(input);
  for (Index flat = 0; flat < x.size(); ++flat) {
    Index rest = flat, target = 0, inside = 0, target_step = 1, inside_step = 1;
    for (int d = rank - 1; d >= 0; --d) {
      const Index i = rest % shape[d];
      rest /= shape[d];
      if (reduced[static_cast<std::size_t>(d)]) {
        inside += i * inside_step;
        inside_step *= shape[d];
      } else {
        target += i * target_step;
        target_step *= shape[d];
      }
    }
    const double v = x.data<double>()[flat];
    out.sums.data<double>()[target] += v;
    // Row-major order visits the reduced positions of one result in rising order, too.
    if (v > out.values.data<double>()[target]) {
      out.values.data<double>()[target] = v;
      out.indices.data<Index>()[target] = inside;
    }
  }
  return out;
}

Shape squeezed(const Shape& shape, const std::vector<int>& axes) {
  Shape out;
  for (int d = 0; d < shape.rank(); ++d) {
    const bool reduced = axes.empty() || std::ranges::count(axes, d) + std::ranges::count(axes, d - shape.rank()) > 0;
    if (!reduced) out.push_back(shape[d]);
  }
  return out;
}

}  // namespace

TEST_CASE("sum and mean equal the slow loop over any axes") {
  for_each_float([](DType dtype) {
    for (const ReduceCase& c : cases()) {
      CAPTURE(c.shape);
      const Tensor x = normal(c.shape, dtype, 1);
      const Reference want = slow_reduce(x, c.axes);
      const double tolerance = dot_tolerance(dtype, want.count);
      const Shape flat = squeezed(c.shape, c.axes);
      CHECK_CLOSE(kernels::sum(x, c.axes, true), want.sums, tolerance);
      CHECK_CLOSE(kernels::sum(x, c.axes), want.sums.reshape(flat), tolerance);
      Tensor means = want.sums.clone();
      for (double& v : means.span<double>()) v = want.count == 0 ? 0 : v / static_cast<double>(want.count);
      CHECK_CLOSE(kernels::mean(x, c.axes, true), means, tolerance);
      CHECK_CLOSE(kernels::mean(x, c.axes), means.reshape(flat), tolerance);
    }
  });
}

TEST_CASE("max equals the slow loop over any axes, and its gradient goes to the winner") {
  for_each_float([](DType dtype) {
    for (const ReduceCase& c : cases()) {
      CAPTURE(c.shape);
      const Tensor x = normal(c.shape, dtype, 2);
      const Reference want = slow_reduce(x, c.axes);
      if (want.count == 0 && want.sums.size() > 0) continue;  // refused: tested below
      const Shape flat = squeezed(c.shape, c.axes);
      for (const bool keepdim : {false, true}) {
        const kernels::MaxResult got = kernels::max(x, c.axes, keepdim);
        const Shape& shape = keepdim ? want.values.shape() : flat;
        CHECK_CLOSE(got.values, want.values.reshape(shape), 0.0);
        CHECK(same_bits(got.indices, want.indices.reshape(shape)));
        // All maxima are different numbers, so x == its maximum marks the winners.
        const Tensor dout = normal(shape, dtype, 3);
        const Tensor spread = doubles(dout.reshape(want.values.shape()).expand(c.shape));
        const Tensor highest = doubles(got.values.reshape(want.values.shape()).expand(c.shape));
        const Tensor elements = doubles(x);
        Tensor expected = zeros(c.shape, kFloat64, kCpu);
        for (Index i = 0; i < x.size(); ++i)
          if (at(elements, i) == at(highest, i)) expected.data<double>()[i] = at(spread, i);
        CHECK_CLOSE(kernels::max_grad(dout, got.indices, c.shape, c.axes), expected, 0.0);
      }
    }
  });
}

TEST_CASE("max: the first of equals wins, and a NaN wins over numbers") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = here(tensor({1.0, 3.0, 3.0, 2.0, nan, nan}, {2, 3}));
  const kernels::MaxResult got = kernels::max(x, {1});
  CHECK_EQ(at(got.values, 0), 3.0);
  CHECK(std::isnan(at(got.values, 1)));
  CHECK(same_bits(got.indices, tensor<Index>({1, 1}, {2})));
  for_each_float([nan](DType dtype) {  // far apart, and of two columns
    for (const Index width : {1, 2}) {
      Tensor far = full({30'000, width}, -1, kFloat64, kCpu);
      for (const Index row : {29'999, 20'000, 17'001}) far.view<double, 2>()(row, 0) = 5;
      const kernels::MaxResult equals = kernels::max(here(far.to(dtype)), {0});
      CHECK_EQ(at(equals.values, 0), 5.0);
      CHECK_EQ(at(equals.indices, 0), 17'001);
      for (const Index row : {29'998, 18'000}) far.view<double, 2>()(row, 0) = nan;
      const kernels::MaxResult nans = kernels::max(here(far.to(dtype)), {0});
      CHECK(std::isnan(at(nans.values, 0)));
      CHECK_EQ(at(nans.indices, 0), 18'000);
      if (width == 2) CHECK_EQ(at(nans.indices, 1), 0);
    }
  });
}

TEST_CASE("reductions read any strides") {
  for_each_float([](DType dtype) {
    const Tensor x = normal({6, 10, 7}, dtype, 4);
    for (const Tensor& view :
         {x.transpose(0, 2), x.slice(1, 1, 10, 3), x.select(0, 3).unsqueeze(0), x.slice(1, 4, 5).expand({6, 8, 7}),
          x.slice(2, 1, 5), x.slice(2, 0, 7, 2), x.slice(2, 3, 4), x.slice(2, 3, 4).expand({6, 10, 7}),
          x.reshape({420}).slice(0, 1, 417).reshape({2, 26, 8})})  // contiguous, not aligned to 16 bytes
      for (const std::vector<int>& axes : {std::vector<int>{}, {0}, {1}, {2}, {0, 2}}) {
        CAPTURE(view.strides());
        const Reference want = slow_reduce(view, axes);
        CHECK_CLOSE(kernels::sum(view, axes, true), want.sums, dot_tolerance(dtype, want.count));
        CHECK_CLOSE(kernels::max(view, axes, true).values, want.values, 0.0);
      }
  });
}

TEST_CASE("sum: the error does not grow with the length") {
  const Index count = interpreted() ? 300'000 : 3'000'000;
  CHECK_EQ(at(kernels::sum(full({count}, 0.1, kFloat32, device())), 0) / (static_cast<double>(0.1f) * count),
           doctest::Approx(1).epsilon(1e-6));
}

TEST_CASE("sum_to undoes broadcasting") {
  const Tensor x = normal({4, 3, 5}, kFloat64, 5);
  CHECK(kernels::sum_to(x, {4, 3, 5}).shares_storage_with(x));
  CHECK_CLOSE(kernels::sum_to(x, {5}), slow_reduce(x, {0, 1}).sums.reshape({5}), 1e-14);
  CHECK_CLOSE(kernels::sum_to(x, {3, 1}), slow_reduce(x, {0, 2}).sums.reshape({3, 1}), 1e-14);
  CHECK_CLOSE(kernels::sum_to(x, {4, 1, 5}), slow_reduce(x, {1}).sums, 1e-14);
  CHECK_CLOSE(kernels::sum_to(x, {}), slow_reduce(x, {}).sums.reshape({}), 1e-14);
  CHECK_CLOSE(kernels::sum_to(normal({0, 3}, kFloat32, 1), {1, 3}), zeros({1, 3}, kFloat64, kCpu), 0.0);
  CHECK_CLOSE(kernels::sum_to(normal({1, 3}, kFloat32, 1), {3}), normal({3}, kFloat32, 1), 0.0);
}

TEST_CASE("reductions: the same bits for any number of threads") {
  const Tensor x = normal({interpreted() ? 700 : 3000, 257}, kFloat32, 6);
  CHECK(same_for_any_thread_count([&] {
    const kernels::MaxResult highest = kernels::max(x, {0});
    return std::vector<Tensor>{kernels::sum(x), kernels::sum(x, {0}), kernels::sum(x, {1}), highest.values,
                               highest.indices};
  }));
}

TEST_CASE("max_grad complains of an index out of range") {
  const Tensor dout = zeros({2}, kFloat32, device()), indices = here(tensor<Index>({0, 3}, {2}));
  const auto run = [&] {
    kernels::max_grad(dout, indices, {2, 3}, {1});
    synchronize(device());  // a kernel's complaint comes with the next wait
  };
  CHECK_THROWS_WITH_AS(run(), "max_grad: indices[1] is 3, expected 0 <= index < 3", Error);
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("reductions: complaints") {
    const Tensor x = zeros({2, 3}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::sum(zeros({2}, kInt64, kCpu)), "sum: x is [2] int64 cpu, expected float32 or float64",
                         DTypeError);
    CHECK_THROWS_WITH_AS(kernels::sum(x, {2}), "sum: axis 2 is out of range for shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::mean(x, {1, -1}), "mean: axis -1 is given twice for shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::max(zeros({2, 0}, kFloat32, kCpu), {1}),
                         "max: x is [2, 0] float32 cpu, expected at least one element along the reduced axes",
                         ShapeError);
    CHECK_THROWS_WITH_AS(kernels::sum_to(x, {2}),
                         "sum_to: x is [2, 3] float32 cpu, expected a shape that [2] broadcasts to", ShapeError);
    CHECK_THROWS_AS(kernels::sum_to(x, {1, 2, 3}), ShapeError);
  }
}

}  // namespace subquad
