#include "subquad/kernels/count_correct/count_correct.h"

#include <doctest/doctest.h>

#include <cmath>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

std::int32_t count(const Tensor& logits, const Tensor& labels) {
  return kernels::count_correct(logits, labels).to(kCpu).item<std::int32_t>();
}

TEST_CASE("count_correct counts rows whose first largest logit is the label") {
  const Tensor logits = here(tensor<float>({1, 2, 0,  //
                                            3, 3, 1,  //
                                            3, 3, 1,  //
                                            0, 0, 5},
                                           {4, 3}));
  CHECK_EQ(count(logits, here(tensor<std::int64_t>({1, 0, 1, 2}, {4}))), 3);
  CHECK_EQ(count(logits, here(tensor<std::int64_t>({-1, 3, 1, 2}, {4}))), 1);
}

TEST_CASE("count_correct takes no row with a NaN for right") {
  const double nan = std::nan("");
  const Tensor logits = here(tensor<double>({nan, nan,  //
                                             nan, 1,    //
                                             0, nan,    //
                                             1, 0},
                                            {4, 2}));
  CHECK_EQ(count(logits, zeros({4}, kInt64, device())), 1);
  CHECK_EQ(count(logits, full({4}, 1, kInt64, device())), 0);
}

TEST_CASE("count_correct equals the loop, for any number of threads") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{0, 3}, Shape{3, 0}, Shape{1, 1}, Shape{37, 2}, Shape{50, 41}}) {
      CAPTURE(shape);
      const Tensor logits = normal(shape, dtype, 1);
      Tensor labels = zeros({shape[0]}, kInt64, kCpu);
      std::int32_t want = 0;
      for (Index b = 0; b < shape[0]; ++b) {
        labels.data<std::int64_t>()[b] = b % 5 % std::max<Index>(shape[1], 1);
        Index best = 0;
        for (Index c = 1; c < shape[1]; ++c)
          if (at(logits, {b, c}) > at(logits, {b, best})) best = c;
        want += shape[1] > 0 && best == labels.data<std::int64_t>()[b];
      }
      CHECK_EQ(count(logits, here(labels)), want);
      CHECK(same_for_any_thread_count([&] { return std::vector{kernels::count_correct(logits, here(labels))}; }));
    }
  });
}

TEST_CASE("count_correct names the wrong argument") {
  const Tensor logits = zeros({4, 2}, kFloat32, device());
  CHECK_THROWS_AS(kernels::count_correct(logits, zeros({3}, kInt64, device())), ShapeError);
  CHECK_THROWS_AS(kernels::count_correct(logits, zeros({4}, kInt32, device())), DTypeError);
  CHECK_THROWS_AS(kernels::count_correct(zeros({4, 2}, kInt64, device()), zeros({4}, kInt64, device())), DTypeError);
}

}  // namespace
}  // namespace subquad::test
