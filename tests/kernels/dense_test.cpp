#include "subquad/kernels/dense/dense.h"

#include <doctest/doctest.h>

#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/reduce/reduce.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::Activation;

RandomState random_state(Index batch) {
  return {
      .seed = 3, .stream = 4, .step = here(tensor<std::int64_t>({7}, {1})), .samples = arange(batch, kInt64, device())};
}

struct DenseCase {
  Shape x;
  Index outputs;
};

// Rows just below, at and above a block, positions that do not divide it, a group of several blocks, widths beyond
// those that are blocked, and nothing at all.
std::vector<DenseCase> cases() {
  std::vector<DenseCase> all = {{{0, 4}, 3}, {{2, 0}, 3}, {{3, 5}, 0},    {{1, 1}, 1},
                                {{2, 7}, 5}, {{5}, 4},    {{2, 3, 17}, 9}};
  if (!interpreted()) {
    const std::vector<DenseCase> longer = {{{255, 3}, 33},     {{2, 128, 16}, 20}, {{1, 257, 64}, 16},
                                           {{3, 171, 8}, 64},  {{2, 1100, 5}, 17}, {{9, 257, 4}, 6},
                                           {{2, 150, 20}, 513}};
    all.insert(all.end(), longer.begin(), longer.end());
  }
  return all;
}

kernels::DenseOptions options_of(Activation activation, double p, const Shape& x) {
  kernels::DenseOptions options = {.activation = activation, .p = x.rank() < 2 ? 0 : p};
  if (options.p > 0) options.rng = random_state(x[0]);
  return options;
}

}  // namespace

// The two that it is made of have loops of their own to be judged by (linear_test, bias_act_dropout_test).
TEST_CASE("dense equals an affine map and what follows it in float64, and so do its gradients") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const DenseCase& c : cases())
        for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu})
          for (const double p : {0.0, 0.3}) {
            CAPTURE(c.x);
            CAPTURE(c.outputs);
            CAPTURE(static_cast<int>(activation));
            CAPTURE(p);
            const kernels::DenseOptions options = options_of(activation, p, c.x);
            const Shape out_shape = c.x.with(c.x.rank() - 1, c.outputs);
            const Tensor x = normal(c.x, dtype, 1), weight = normal({c.x.back(), c.outputs}, dtype, 2);
            const Tensor dout = normal(out_shape, dtype, 5), shift = normal({c.outputs}, dtype, 3);
            for (const bool whole : {true, false}) {
              const Tensor bias = whole ? shift : Tensor(), residual = whole ? normal(out_shape, dtype, 4) : Tensor();
              const auto wide = [](const Tensor& t) { return t.defined() ? t.to(kFloat64) : Tensor(); };
              const Tensor product = kernels::linear(wide(x), wide(weight), {});
              const Tensor want =
                  kernels::bias_act_dropout(product, wide(bias), activation, options.p, options.rng, wide(residual));
              const auto want_z =
                  kernels::bias_act_dropout_grad(wide(dout), product, wide(bias), activation, options.p, options.rng);

              const kernels::Dense got = kernels::dense(x, weight, bias, options, residual, true);
              CHECK_CLOSE(got.out, want, dot_tolerance(dtype, c.x.back() + 8));
              CHECK(same_bits(got.out, kernels::dense(x, weight, bias, options, residual, false).out));
              CHECK_EQ(got.product.defined(), activation != Activation::none);

              const auto grads = kernels::dense_grad_parts(dout, x, weight, bias, options, got, true, true);
              const Index rows = product.size() / std::max<Index>(c.outputs, 1);
              if (activation == Activation::relu) continue;  // rounding may fall to the other side of its kink
              CHECK_CLOSE(grads.dx, kernels::linear(want_z.dx, wide(weight).transpose(0, 1), {}),
                          dot_tolerance(dtype, c.outputs + 8));
              CHECK_CLOSE(kernels::sum(grads.dweight, {0}), kernels::linear_grad_weight(want_z.dx, wide(x)),
                          dot_tolerance(dtype, rows + 8));
              CHECK_EQ(grads.dbias.defined(), bias.defined());
              if (whole) CHECK_CLOSE(kernels::sum(grads.dbias, {0}), want_z.dbias, dot_tolerance(dtype, rows + 8));
            }
          }
    });
  });
}

TEST_CASE("dense makes the gradients that are wanted, from x and dout that lie anyhow") {
  const Tensor x = normal({4, 40, 3}, kFloat32, 1).transpose(0, 1), weight = normal({3, 5}, kFloat32, 2);
  const kernels::DenseOptions options = options_of(Activation::gelu, 0.2, x.shape());
  const kernels::Dense forward = kernels::dense(x, weight, {}, options, {}, true);
  CHECK(same_bits(forward.out, kernels::dense(x.contiguous(), weight, {}, options, {}, true).out));
  const Tensor dout = normal(forward.out.shape(), kFloat32, 3);
  const auto both = kernels::dense_grad_parts(dout, x, weight, {}, options, forward, true, true);
  const auto only_dx = kernels::dense_grad_parts(dout, x, weight, {}, options, forward, true, false);
  const auto only_dweight = kernels::dense_grad_parts(dout, x, weight, {}, options, forward, false, true);
  CHECK(same_bits(only_dx.dx, both.dx));
  CHECK_FALSE(only_dx.dweight.defined());
  CHECK(same_bits(only_dweight.dweight, both.dweight));
  CHECK_FALSE(only_dweight.dx.defined());
}

TEST_CASE("dense gives the same bits for any thread count") {
  const Tensor x = normal({3, interpreted() ? 5 : 900, 24}, kFloat32, 1), weight = normal({24, 40}, kFloat32, 2);
  const Tensor bias = normal({40}, kFloat32, 3), dout = normal(x.shape().with(2, 40), kFloat32, 4);
  const kernels::DenseOptions options = options_of(Activation::gelu, 0.2, x.shape());
  CHECK(same_for_any_thread_count([&] {
    const kernels::Dense forward = kernels::dense(x, weight, bias, options, {}, true);
    const auto g = kernels::dense_grad_parts(dout, x, weight, bias, options, forward, true, true);
    return std::vector<Tensor>{forward.out, g.dx, g.dweight, g.dbias};
  }));
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("dense names what does not fit") {
    const Tensor x = zeros({2, 3}, kFloat32, kCpu), weight = zeros({3, 4}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::dense(x, zeros({2, 4}, kFloat32, kCpu), {}, {}, {}, false),
                         "dense: x is [2, 3] float32 cpu, expected [..., 2] for weight [2, 4] = [I, O]", ShapeError);
    CHECK_THROWS_AS(kernels::dense(x, weight, {}, {}, zeros({2, 3}, kFloat32, kCpu), false), ShapeError);
    CHECK_THROWS_AS(kernels::dense(x, weight, {}, {.p = 0.5}, {}, false), Error);
    CHECK_THROWS_AS(kernels::dense_grad_parts(x, x, weight, {}, {}, {}, true, true), ShapeError);
  }
}

}  // namespace subquad::test
