#include "subquad/kernels/increment/increment.h"

#include <cmath>

#include "subquad/tests/support/compare.h"

namespace subquad::test {

using kernels::increment;

TEST_CASE("increment adds one to every element, in place") {
  for (const Index size : {0, 1, 5, 256, 700, 1030}) {
    CAPTURE(size);
    Tensor count = here(arange(size, kInt64, kCpu));
    const std::uint32_t version = count.version();
    increment(count);
    increment(count);
    CHECK_EQ(count.version(), version + 2);
    for (Index i = 0; i < size; ++i) CHECK_EQ(at(count, i), i + 2);
  }
}

TEST_CASE("increment counts nothing where the gate is a NaN") {
  Tensor count = here(arange(300, kInt64, kCpu));
  increment(count, full({1}, 0.5, kFloat64, device()));
  increment(count, full({1}, std::nan(""), kFloat64, device()));
  for (Index i = 0; i < 300; ++i) CHECK_EQ(at(count, i), i + 1);
}

TEST_CASE("increment complains about what is not a row of integers") {
  Tensor floats = zeros({2}, kFloat64, kCpu);
  CHECK_THROWS_WITH_AS(increment(floats), "increment: count is [2] float64 cpu, expected int64", DTypeError);
  Tensor every_other = zeros({4}, kInt64, kCpu).slice(0, 0, 4, 2);
  CHECK_THROWS_AS(increment(every_other), ShapeError);
  Tensor undefined;
  CHECK_THROWS_WITH_AS(increment(undefined), "increment: count is undefined", Error);
}

}  // namespace subquad::test
