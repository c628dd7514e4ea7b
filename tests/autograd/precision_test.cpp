#include "subquad/core/precision.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
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

namespace {

// What a product in bf16 reads of x.
Tensor as_read(const Tensor& x) {
  return device().is_cpu() ? x : x.to(kCpu).to(kBFloat16).to(kFloat32).to(device());
}

// Forward and gradients of `maps` linear maps of one x: by linear where there is one, else by linear_group.
std::vector<Tensor> linear_results(const Tensor& x, const std::vector<Tensor>& weights,
                                   const std::vector<Tensor>& upstream, const std::vector<Tensor>& biases) {
  std::vector<Variable> leaves = {Variable(x, true)}, w, b;
  for (const Tensor& weight : weights) leaves.push_back(w.emplace_back(weight, true));
  for (const Tensor& bias : biases) leaves.push_back(b.emplace_back(bias, true));
  const std::vector<Variable> outs =
      weights.size() > 1 ? linear_group(leaves[0], w, b) : std::vector{linear(leaves[0], w[0], b[0])};
  std::vector<Tensor> results = grad(outs, leaves, upstream);
  for (const Variable& out : outs) results.push_back(out.value());
  return results;
}

}  // namespace

TEST_CASE("linear and linear_group in bf16 round what they multiply, and nothing else") {
  for (const Shape& shape : {Shape{2, 5, 16}, Shape{3, 7}, Shape{9}, Shape{0, 4}})
    for (const Index count : {1, 3, 9})  // one launch rounds eight
      for (const bool side_by_side : {false, true}) {
        CAPTURE(shape);
        CAPTURE(count);
        CAPTURE(side_by_side);
        const Index width = 24;
        const Tensor x = normal(shape, kFloat32, 1);
        const Shape all = shape.with(shape.rank() - 1, width).inserted(shape.rank() - 1, count);
        const Tensor ups = normal(all, kFloat32, 2);
        std::vector<Tensor> weights, biases, upstream, read_weights, read_upstream;
        for (Index s = 0; s < count; ++s) {
          const auto seed = static_cast<std::uint64_t>(10 + s);
          weights.push_back(normal({shape.back(), width}, kFloat32, seed));
          biases.push_back(normal({width}, kFloat32, seed + 10));
          const Tensor mine = ups.select(shape.rank() - 1, s);
          upstream.push_back(side_by_side ? mine : mine.clone());
          read_weights.push_back(as_read(weights.back()));
          read_upstream.push_back(as_read(mine));
        }
        std::vector<Tensor> got;
        {
          const PrecisionGuard guard(Precision::bf16);
          got = linear_results(x, weights, upstream, biases);
        }
        const std::vector<Tensor> want = linear_results(as_read(x), read_weights, read_upstream, biases);
        const std::vector<Tensor> exact = linear_results(x, weights, upstream, biases);
        const std::size_t maps = weights.size();
        for (std::size_t i = 0; i < got.size(); ++i) {
          const bool of_bias = i > maps && i <= 2 * maps;  // sums of what came, not of what was multiplied
          CHECK_EQ(got[i].dtype(), kFloat32);
          CHECK_CLOSE(got[i], of_bias ? exact[i] : want[i], dot_tolerance(kFloat32, 128));
        }
      }
}

TEST_CASE("linear and linear_group in bf16 take what repeats itself along its leading dimensions") {
  const Index width = 24;
  const Shape shape = {2, 5, 16}, wide = {2, 5, width};
  for (const Shape& part : {Shape{1, 5}, Shape{2, 1}, Shape{1, 1}})
    for (const std::size_t count : {1, 3}) {
      CAPTURE(part);
      CAPTURE(count);
      const Tensor x = normal(part.inserted(2, 16), kFloat32, 1).expand(shape);
      std::vector<Tensor> weights, biases, upstream, read_weights, read_upstream;
      for (std::size_t s = 0; s < count; ++s) {
        weights.push_back(normal({16, width}, kFloat32, 10 + s));
        biases.push_back(normal({width}, kFloat32, 20 + s));
        upstream.push_back(normal(part.inserted(2, width), kFloat32, 30 + s).expand(wide));
        read_weights.push_back(as_read(weights.back()));
        read_upstream.push_back(as_read(upstream.back()));
      }
      const std::vector<Tensor> want = linear_results(as_read(x), read_weights, read_upstream, biases);
      const std::vector<Tensor> exact = linear_results(x, weights, upstream, biases);
      const PrecisionGuard guard(Precision::bf16);
      const std::vector<Tensor> got = linear_results(x, weights, upstream, biases);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const bool of_bias = i > count && i <= 2 * count;
        CHECK_CLOSE(got[i], of_bias ? exact[i] : want[i], dot_tolerance(kFloat32, 128));
      }
    }
  const auto gradients = [&] {  // one number's for all
    const std::vector<Variable> leaves = {Variable(as_read(normal(shape, kFloat32, 1)), true),
                                          Variable(as_read(normal({16, width}, kFloat32, 2)), true),
                                          Variable(as_read(normal({16, width}, kFloat32, 3)), true)};
    const std::vector<Variable> both = linear_group(leaves[0], {leaves[1], leaves[2]}, {Variable(), Variable()});
    return grad({sum(linear(leaves[0], leaves[1])), sum(both[0]), sum(both[1])}, leaves);
  };
  const std::vector<Tensor> want = gradients();
  const PrecisionGuard guard(Precision::bf16);
  const std::vector<Tensor> got = gradients();
  for (std::size_t i = 0; i < got.size(); ++i) CHECK_CLOSE(got[i], want[i], dot_tolerance(kFloat32, 128));
}

}  // namespace subquad::test
