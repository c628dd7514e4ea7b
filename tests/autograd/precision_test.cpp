#include "subquad/core/precision.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

namespace {

constexpr Index kSize = 128;
constexpr double kFine = 1 + 0x1p-12;  // a float32, but neither TF32 nor bfloat16 has it

Variable filled(double value) {
  return Variable(full({kSize, kSize}, value, kFloat32, device()), true);
}

// The gradient of b in sum(a b) with a = kFine everywhere, forward in one precision and backward called in another.
template <class Op>
Tensor gradient(const Op& op, Precision forward, Precision around_backward) {
  const Variable a = filled(kFine), b = filled(1);
  Variable out;
  {
    const PrecisionGuard guard(forward);
    out = op(a, b);
  }
  const PrecisionGuard guard(around_backward);
  backward(out, full(out.shape(), 1, kFloat32, device()));
  CHECK_EQ(precision(), around_backward);
  return b.grad();
}

// kSize * kFine, or kSize where a was rounded. The CPU never rounds.
Tensor expected(Precision p) {
  const bool exact = p == Precision::fp32 || device().is_cpu();
  return full({kSize, kSize}, static_cast<double>(kSize) * (exact ? kFine : 1), kFloat32, kCpu);
}

template <class Op>
void check(const Op& op) {
  for (const Precision forward : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    for (const Precision around : {Precision::fp32, Precision::bf16}) {
      CAPTURE(forward);
      CAPTURE(around);
      CHECK(same_bits(gradient(op, forward, around), expected(forward)));
    }
  }
}

}  // namespace

TEST_CASE("backward computes in the precision of its forward") {
  check([](const Variable& a, const Variable& b) { return matmul(a, b); });
  check([](const Variable& a, const Variable& b) { return linear(a, b); });
}

TEST_CASE("a checkpoint's second run computes in the precision of the first") {
  check([](const Variable& a, const Variable& b) {
    return checkpoint([](const std::vector<Variable>& in) { return matmul(in[0], in[1]); }, {a, b});
  });
}

}  // namespace subquad::test
