#include "subquad/autograd/ops/span_pool.h"

#include "subquad/kernels/spans/spans.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("span_pool gradients") {
  const Mask mask = Mask::from_lengths(here(tensor<Index>({11, 8}, {2})), 11);  // every segment holds a real position
  for (const SpanPool pool : {SpanPool::max, SpanPool::mean, SpanPool::sum, SpanPool::log_sum_exp})
    for (const Tensor& spans : {kernels::segment_spans(8, 4, device()), kernels::level_spans(8, device())})
      CHECK_GRADIENTS(
          [&](const std::vector<Variable>& in) -> std::vector<Variable> {
            return {span_pool(in[0], spans, pool, mask)};
          },
          {leaf({2, 11, 3}, 1)});
}

}  // namespace subquad::test
