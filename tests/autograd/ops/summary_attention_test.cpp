#include "subquad/autograd/ops/summary_attention.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

constexpr Index kPositions = 11, kSize = 4;

struct Summed {
  BlockPattern pattern;
  Tensor spans;
};

std::vector<Summed> patterns() {
  return {{{.kind = BlockKind::fixed, .size = kSize}, kernels::segment_spans(kPositions, kSize, device())},
          {{.kind = BlockKind::logsparse}, kernels::level_spans(kPositions, device())}};
}

// q, k, v, and what may be pooled in place of q and k.
std::vector<Variable> inputs(DType dtype) {
  std::vector<Variable> all;
  for (std::uint64_t seed = 1; seed <= 5; ++seed)
    all.emplace_back(normal({2, 2, kPositions, seed == 3 ? 2 : 3}, dtype, seed), true);
  return all;
}

Variable merged(const Variable& x) {
  return reshape(contiguous(transpose(x, 1, 2)), {x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

// The same by three ops.
SummaryAttentionResult by_parts(const Variable& q, const Variable& k, const Variable& v, const SpanSummaries& s,
                                const BlockPattern& pattern, const Mask& mask) {
  const auto pooled = [&](const Variable& x) {
    const Variable rows = span_pool(merged(x), s.spans, s.pool, mask);
    return transpose(reshape(rows, {rows.dim(0), rows.dim(1), 2, rows.dim(2) / 2}), 1, 2);
  };
  const Variable q_span = pooled(s.pooled_q.defined() ? s.pooled_q : q),
                 k_span = pooled(s.pooled_k.defined() ? s.pooled_k : k);
  const Variable v_span = span_attention(q_span, k, v, s.spans, mask, s.attention);
  const BlockAttentionResult joint = block_attention(q, k, v, {{k_span, v_span}}, pattern, mask);
  return {joint.out, joint.lse, q_span, k_span, v_span};
}

Mask lengths() {
  return Mask::from_lengths(here(tensor<Index>({kPositions, 6}, {2})), kPositions);
}

// Gradients of all inputs that are read, with upstream gradients on the summaries, too, if so wished.
std::vector<Tensor> gradients(const SummaryAttentionResult& r, std::vector<Variable> in, bool apart,
                              bool of_summaries) {
  std::vector<Variable> outputs = {r.out};
  if (of_summaries) outputs.insert(outputs.end(), {r.q_span, r.k_span, r.v_span});
  std::vector<Tensor> upstream;
  for (const Variable& output : outputs)
    upstream.push_back(normal(output.shape(), output.dtype(), 10 + upstream.size()));
  in.resize(apart ? 5 : 3);
  return grad(outputs, in, upstream);
}

}  // namespace

TEST_CASE("summary_attention and its gradients are those of its three parts") {
  for_each_float([](DType dtype) {
    for (const Summed& c : patterns())
      for (const Mask& mask : {Mask{}, lengths()})
        for (const SpanPool pool : {SpanPool::max, SpanPool::mean})
          for (const bool apart : {false, true}) {
            const bool of_summaries = pool == SpanPool::mean;
            const std::vector<Variable> in = inputs(dtype);
            SpanSummaries summaries{.spans = c.spans, .pool = pool, .attention = {.scale = 0.3}};
            if (apart) summaries.pooled_q = in[3], summaries.pooled_k = in[4];
            const SummaryAttentionResult got = summary_attention(in[0], in[1], in[2], summaries, c.pattern, mask);
            const SummaryAttentionResult want = by_parts(in[0], in[1], in[2], summaries, c.pattern, mask);
            CHECK(same_bits(got.out.value(), want.out.value()));
            CHECK(same_bits(got.lse.value(), want.lse.value()));
            const std::vector<Tensor> grads = gradients(got, in, apart, of_summaries);
            const std::vector<Tensor> expected = gradients(want, in, apart, of_summaries);
            for (std::size_t i = 0; i < grads.size(); ++i)  // added up in another order
              CHECK_CLOSE(grads[i], expected[i], dot_tolerance(dtype, kPositions));
          }
  });
}

TEST_CASE("summary_attention: some inputs alone get gradients") {
  const Summed c = patterns()[0];
  const SpanSummaries summaries{.spans = c.spans};
  const std::vector<Variable> in = inputs(kFloat32);
  const SummaryAttentionResult whole = summary_attention(in[0], in[1], in[2], summaries, c.pattern);
  const std::vector<Tensor> want = gradients(whole, in, false, false);
  for (std::size_t one = 0; one < 3; ++one) {
    std::vector<Variable> some;
    for (std::size_t i = 0; i < 3; ++i) some.emplace_back(in[i].value(), i == one);
    const SummaryAttentionResult r = summary_attention(some[0], some[1], some[2], summaries, c.pattern);
    const Tensor upstream = normal(r.out.shape(), kFloat32, 10);
    CHECK(same_bits(grad({r.out}, {some[one]}, {upstream})[0], want[one]));
  }
}

TEST_CASE("summary_attention gradients") {
  for (const Summed& c : patterns())
    CHECK_GRADIENTS(
        [&](const std::vector<Variable>& in) -> std::vector<Variable> {
          return {summary_attention(in[0], in[1], in[2], {.spans = c.spans}, c.pattern, lengths()).out};
        },
        {leaf({2, 2, kPositions, 3}, 1), leaf({2, 2, kPositions, 3}, 2), leaf({2, 2, kPositions, 2}, 3)},
        interpreted() ? GradcheckOptions{.full_limit = 4, .directions = 2} : GradcheckOptions{});
}

TEST_CASE("summary_attention names what does not fit") {
  const Summed c = patterns()[0];
  const std::vector<Variable> in = inputs(kFloat32);
  CHECK_THROWS_WITH_AS(summary_attention(in[0], in[1], in[2], {.spans = c.spans, .pooled_q = in[0]}, c.pattern),
                       "summary_attention: one of pooled_q and pooled_k is undefined, expected both or none", Error);
  CHECK_THROWS_AS(summary_attention(in[0], in[2], in[2], {.spans = c.spans}, c.pattern), ShapeError);
  CHECK_THROWS_AS(
      summary_attention(in[0], in[1], in[2], {.spans = c.spans, .pooled_q = in[2], .pooled_k = in[1]}, c.pattern),
      ShapeError);
}

}  // namespace subquad::test
