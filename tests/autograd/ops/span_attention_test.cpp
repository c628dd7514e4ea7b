#include "subquad/autograd/ops/span_attention.h"

#include "subquad/kernels/spans/spans.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("span_attention gradients, masked and with dropout") {
  const RandomState random{
      .seed = 1, .stream = 2, .step = here(tensor<Index>({3}, {1})), .samples = here(tensor<Index>({0, 1}, {2}))};
  const Mask mask = Mask::from_lengths(here(tensor<Index>({11, 6}, {2})), 11);
  const auto check = [](const Tensor& spans, const Mask& real, const SpanAttentionOptions& options) {
    CHECK_GRADIENTS(
        [&](const std::vector<Variable>& in) -> std::vector<Variable> {
          return {span_attention(in[0], in[1], in[2], spans, real, options)};
        },
        {leaf({2, 2, spans.dim(1), 3}, 1), leaf({2, 2, 11, 3}, 2), leaf({2, 2, 11, 2}, 3)},
        interpreted() ? GradcheckOptions{.full_limit = 4, .directions = 3} : GradcheckOptions{});
  };
  for (const Tensor& spans : {kernels::segment_spans(11, 4, device()), kernels::level_spans(11, device())}) {
    check(spans, {}, {});
    check(spans, mask, {.scale = 0.7});
    check(spans, mask, {.dropout = 0.4, .random = random});
  }
}

}  // namespace subquad::test
