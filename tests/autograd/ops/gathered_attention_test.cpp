#include "subquad/autograd/ops/gathered_attention.h"

#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("gathered_attention gradients of both outputs") {
  Tensor index = empty({2, 2, 5, 4}, kInt64, kCpu);  // each query has a key, some of them twice
  for (Index a = 0; a < index.size(); ++a) index.data<Index>()[a] = a % 4 == 3 ? -1 : (a * 5 + a / 7) % 6;
  index = here(index);
  const Mask mask =
      Mask::from_bool(tensor<bool>({true, true, true, true, true, true, true, false, true, true, false, true}, {2, 6}))
          .to(device());
  for_each_simd_target([&] {
    for (const bool bias : {false, true}) {
      if (interpreted() && !bias) continue;
      std::vector<Variable> inputs = {leaf({2, 2, 5, 3}, 1), leaf({2, 2, 6, 3}, 2), leaf({2, 2, 6, 2}, 3)};
      if (bias) inputs.push_back(leaf({2, 2, 5, 4}, 4));
      CHECK_GRADIENTS(
          [&](const std::vector<Variable>& in) -> std::vector<Variable> {
            const AttentionResult r = gathered_attention(in[0], in[1], in[2], index, bias ? in[3] : Variable(), mask);
            return {r.out, r.lse};
          },
          inputs);
    }
  });
}

}  // namespace subquad::test
