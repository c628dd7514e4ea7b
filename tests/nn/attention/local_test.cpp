#include "subquad/nn/attention/local.h"

#include <cmath>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

std::unique_ptr<Attention> make_local(Index window, bool causal, DType dtype) {
  auto made = make_attention(test::place(dtype, 4),
                             {.kind = "local", .width = 6, .heads = 2, .causal = causal, .local = {.window = window}});
  test::randomise(*made);
  return made;
}

// Softmax attention's matrix, restricted to the window and made to sum to 1 again.
TEST_CASE("LocalAttention is softmax attention to the neighbours alone") {
  const Index n = test::interpreted() ? 30 : 150;
  for (const Mask& mask : {Mask(), test::prefix_mask({n, 3 * n / 5}, n)})
    for (const bool causal : {false, true})
      for (const Index window : {Index{0}, Index{1}, Index{20}, n, Index{1} << 40}) {
        CAPTURE(window);
        const auto module = make_local(window, causal, kFloat64);
        const Variable x(test::normal({2, n, 6}, kFloat64, 1));
        Tensor want = test::slow::attention_matrix(x.value(), module->state_dict(), 2, mask, causal);
        for (Index row = 0; row < 2 * 2 * n; ++row) {
          double* a = want.data<double>() + row * n;
          double sum = 0;
          for (Index j = 0; j < n; ++j) sum += a[j] = std::abs(row % n - j) <= window ? a[j] : 0;
          for (Index j = 0; j < n && sum > 0; ++j) a[j] /= sum;
        }
        CHECK_CLOSE(module->mixing_matrix({x, x, mask, {}}), want, 1e-12);
      }
}

TEST_CASE("LocalAttention gradients") {
  const Mask mask = test::prefix_mask({7, 4}, 7);
  const Variable real(mask.real.unsqueeze(2).to(kFloat64));
  for (const bool causal : {false, true}) {
    const auto module = make_local(2, causal, kFloat64);
    const auto f = [&](const auto& in) { return mul(module->forward({in[0], in[0], mask, {}}), real); };
    CHECK_MODULE_GRADIENTS(*module, f, {test::leaf({2, 7, 6}, 1)});
  }
}

TEST_CASE("LocalAttention refuses a negative window") {
  CHECK_THROWS_WITH_AS(make_local(-1, false, kFloat32), "local: window is -1, expected 0 or more", Error);
}

}  // namespace
}  // namespace subquad::nn
