#include "subquad/autograd/ops/level_attention.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/summary_attention.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

std::vector<Variable> inputs(DType dtype, Index n, Index width, Index value_width) {
  return {Variable(normal({2, 2, n, width}, dtype, 1), true), Variable(normal({2, 2, n, width}, dtype, 2), true),
          Variable(normal({2, 2, n, value_width}, dtype, 3), true)};
}

// None, short ones, a sample without tokens, tokens here and there.
std::vector<Mask> some_masks(Index n) {
  Tensor real = empty({2, n}, kBool, kCpu);
  for (Index i = 0; i < 2 * n; ++i) real.data<bool>()[i] = i % 7 < 3 || i % 5 == 1;
  return {Mask{}, Mask::from_lengths(here(tensor<Index>({n, n / 2 + 1}, {2})), n),
          Mask::from_lengths(here(tensor<Index>({0, n}, {2})), n), Mask::from_bool(real)};
}

}  // namespace

TEST_CASE("level_attention and its gradients are those of tables of summaries") {
  if (!device().is_cpu()) return;
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Index n : {1, 2, 9, 37, 128, 150, 256, 515})
        for (const bool causal : {false, true})
          for (const Mask& mask : some_masks(n)) {
            CAPTURE(n);
            CAPTURE(causal);
            const std::vector<Variable> in = inputs(dtype, n, 20, 17);
            const LevelAttentionResult got = level_attention(in[0], in[1], in[2], causal, mask);
            const SummaryAttentionResult want =
                summary_attention(in[0], in[1], in[2], {.spans = kernels::level_spans(n, kCpu)},
                                  {.kind = BlockKind::logsparse, .causal = causal}, mask);
            const double tolerance = dot_tolerance(dtype, 20 * n);
            CHECK_CLOSE(got.out.value(), doubles(want.out.value()), tolerance);
            CHECK_CLOSE(got.lse.value(), doubles(want.lse.value()), tolerance);
            std::vector<Tensor> up = {normal(got.out.shape(), dtype, 8), normal(got.lse.shape(), dtype, 9)};
            const std::vector<Tensor> of_got = grad({got.out, got.lse}, in, up);
            const std::vector<Tensor> of_want = grad({want.out, want.lse}, in, up);
            for (std::size_t i = 0; i < in.size(); ++i) CHECK_CLOSE(of_got[i], doubles(of_want[i]), tolerance);
          }
    });
  });
}

TEST_CASE("level_attention gradients") {
  if (!device().is_cpu()) return;
  for (const bool causal : {false, true})
    CHECK_GRADIENTS(
        [&](const std::vector<Variable>& in) -> std::vector<Variable> {
          const LevelAttentionResult r = level_attention(in[0], in[1], in[2], causal);
          return {r.out, r.lse};
        },
        std::vector<Variable>({leaf({2, 1, 21, 3}, 1), leaf({2, 1, 21, 3}, 2), leaf({2, 1, 21, 2}, 3)}));
}

TEST_CASE("level_attention: the first of equal maxima gets the gradient") {
  if (!device().is_cpu()) return;
  const Index n = 256;
  for_each_simd_target([&] {
    for_each_float([&](DType dtype) {
      std::vector<Variable> in = inputs(dtype, n, 2, 2);
      Tensor k = zeros({2, 2, n, 2}, kFloat64, kCpu);
      for (Index i = 0; i < k.size(); ++i) k.data<double>()[i] = static_cast<double>(i / 2 % 3);
      in[1] = Variable(k.to(dtype), true);
      const LevelAttentionResult got = level_attention(in[0], in[1], in[2], false);
      const SummaryAttentionResult want = summary_attention(
          in[0], in[1], in[2], {.spans = kernels::level_spans(n, kCpu)}, {.kind = BlockKind::logsparse});
      const std::vector<Tensor> up = {normal(got.out.shape(), dtype, 8)};
      CHECK_CLOSE(grad({got.out}, in, up)[1], doubles(grad({want.out}, in, up)[1]), dot_tolerance(dtype, 4 * n));
    });
  });
}

}  // namespace subquad::test
