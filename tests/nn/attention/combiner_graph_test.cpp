// Combiner's attention as a recorded graph: no copy from the CPU, no wait, and how many operations.
#include "subquad/autograd/backward.h"
#include "subquad/core/graph.h"
#include "subquad/tests/nn/attention/combiner_cases.h"

namespace subquad::nn {
namespace {

using namespace test::combiner;

// Heads as projections leave them, [B, N, H, E] in memory.
Inputs with_projected_heads(Inputs in) {
  for (Variable* x : {&in.q, &in.k, &in.v}) {
    const Tensor rows = x->value().transpose(1, 2).contiguous();
    *x = Variable(rows.transpose(1, 2), true);
  }
  return in;
}

struct Operations {
  std::size_t forward, back;
};

Operations most_operations(const Options& o) {
  switch (o.config.pattern) {
    case CombinerPattern::fixed:
    case CombinerPattern::logsparse: return {4, 9};
    case CombinerPattern::vertical: return o.causal ? Operations{4, 14} : Operations{7, 22};
    case CombinerPattern::horizontal: return {7, 22};
    case CombinerPattern::mixture: return o.causal ? Operations{10, 30} : Operations{13, 38};
    case CombinerPattern::average: return o.causal ? Operations{13, 36} : Operations{16, 44};
    case CombinerPattern::rowmajor: break;
  }
  return {8, 19};
}

TEST_SUITE("cuda") {
  TEST_CASE("combiner_attention and its gradient are recorded as one graph") {
    const Index n = 20;
    for (const Options& o : patterns(4)) {
      CAPTURE(o);
      const Inputs in = with_projected_heads(make_inputs(n, test::prefix_mask({n, 9, 0}, n), kFloat32));
      const Tensor upstream = test::normal(in.v.shape(), kFloat32, 9);
      Variable out = in.run(o);
      backward(out, upstream);
      const std::vector<Tensor> want = {out.value().clone(), in.q.grad().clone(), in.k.grad().clone(),
                                        in.v.grad().clone()};
      synchronize(test::device());
      for (Variable x : in.leaves(o)) x.zero_grad();
      const Tensor fresh = test::normal(in.v.shape(), kFloat32, 9);
      Graph forward = Graph::capture(test::device(), [&] { out = in.run(o); });
      Graph back = Graph::capture(test::device(), [&] { backward(out, fresh); });
      forward.replay();
      back.replay();
      CHECK(test::same_bits(out.value(), want[0]));
      CHECK(test::same_bits(in.q.grad(), want[1]));
      CHECK(test::same_bits(in.k.grad(), want[2]));
      CHECK(test::same_bits(in.v.grad(), want[3]));
      // as many as when this was written; backward with the sums of what q, k and v get from several sides
      const auto [most_forward, most_back] = most_operations(o);
      CHECK_LE(forward.size(), most_forward);
      CHECK_LE(back.size(), most_back);
    }
  }
}

}  // namespace
}  // namespace subquad::nn
