#include "subquad/kernels/grad_norm/grad_norm.h"

#include <cmath>
#include <limits>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {

using kernels::clip_scale;
using kernels::grad_norm;

namespace {

Tensor scalar(double value) {
  return here(tensor<double>({value}, {1}));
}

double slow_norm(const Tensor& grad) {
  const Tensor t = doubles(grad);
  double sum = 0;
  for (Index i = 0; i < t.size(); ++i) sum += at(t, i) * at(t, i);
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("grad_norm equals the slow loop") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7}, Shape{9}, Shape{3, 5, 7}, Shape{8192}, Shape{20'011}}) {
      CAPTURE(shape);
      const Tensor grad = normal(shape, dtype, 1);
      CHECK_CLOSE(grad_norm(grad), scalar(slow_norm(grad)), dot_tolerance(kFloat64, grad.size()));
    }
    CHECK_EQ(grad_norm(full({4}, 1e30, dtype, device())).item<double>(),
             doctest::Approx(2e30));  // no overflow in float32
  });
}

// On a GPU all threads of the grid take a second turn: float64 goes one element at a time, 2^18 at once.
TEST_CASE("grad_norm counts every element of a large arena once") {
  const Tensor grad = normal({300'001}, kFloat64, 1);
  CHECK_CLOSE(grad_norm(grad), scalar(slow_norm(grad)), dot_tolerance(kFloat64, grad.size()));
}

TEST_CASE("grad_norm gives the same bits with any number of threads") {
  const Index size = interpreted() ? 3003 : 300'007;
  for_each_float([&](DType dtype) {
    for (const Index start : {0, 1}) {  // an arena, and memory that cannot be read 16 bytes at a time
      const Tensor grad = normal({start + size}, dtype, 1).slice(0, start, start + size);
      CHECK_CLOSE(grad_norm(grad), scalar(slow_norm(grad)), dot_tolerance(kFloat64, size));
      CHECK(same_for_any_thread_count([&] { return std::vector<Tensor>{grad_norm(grad)}; }));
    }
  });
}

TEST_CASE("clip_scale shortens long gradients and leaves short ones") {
  CHECK_EQ(clip_scale(scalar(0), 1).item<double>(), 1);
  CHECK_EQ(clip_scale(scalar(0.5), 1).item<double>(), 1);
  CHECK_EQ(clip_scale(scalar(4), 1).item<double>(), doctest::Approx(0.25).epsilon(1e-6));
  CHECK_EQ(clip_scale(scalar(4), 2).item<double>(), doctest::Approx(0.5).epsilon(1e-6));
  CHECK_EQ(clip_scale(scalar(std::numeric_limits<double>::infinity()), 1).item<double>(), 0);
  CHECK(std::isnan(clip_scale(scalar(std::numeric_limits<double>::quiet_NaN()), 1).item<double>()));
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("grad_norm and clip_scale complain about their arguments") {
    CHECK_THROWS_WITH_AS(grad_norm(zeros({3}, kInt32, kCpu)),
                         "grad_norm: grad is [3] int32 cpu, expected float32 or float64", DTypeError);
    CHECK_THROWS_WITH_AS(grad_norm(zeros({3, 4}, kFloat32, kCpu).transpose(0, 1)),
                         "grad_norm: grad is [4, 3] float32 cpu with strides [1, 4], expected contiguous", ShapeError);
    CHECK_THROWS_WITH_AS(clip_scale(zeros({1}, kFloat32, kCpu), 1),
                         "clip_scale: norm is [1] float32 cpu, expected float64", DTypeError);
    CHECK_THROWS_WITH_AS(clip_scale(scalar(1), 0), "clip_scale: max_norm is 0, expected above 0", Error);
  }
}

}  // namespace subquad::test
