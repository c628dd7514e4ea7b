// Attention over rows that were attended before: block_attention_across.
#include <limits>

#include "subquad/kernels/block_attention/block_attention.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/kernels/block_attention_cases.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using namespace block_attention_cases;
using Padding = BlockCase::Padding;

}  // namespace

TEST_SUITE("cpu") {
  TEST_CASE("block_attention across rows equals rowmajor's double loop, and its gradients go on through the row") {
    for_each_simd_target([&] {
      for (const Padding padding : {Padding::none, Padding::prefix, Padding::scattered})
        for (const auto& [n, size] :
             std::vector<std::pair<Index, Index>>{{1, 1}, {5, 8}, {12, 4}, {37, 5}, {65, 9}, {100, 40}, {256, 32}})
          for (const bool own_span : {false, true})
            for_each_float([&, n = n, size = size](DType dtype) {
              const BlockCase c{.pattern = {.kind = BlockKind::rowmajor, .size = size, .own_span = own_span},
                                .batch = padding == Padding::none ? 1 : 3,
                                .n = n,
                                .padding = padding};
              CAPTURE(c);
              BlockCase row_case = c;
              row_case.pattern = {.kind = BlockKind::row, .size = size};
              BlockInputs in = make_inputs(c, dtype);
              const BlockAttentionOutput row =
                  kernels::block_attention(in.q, in.k, in.v, {}, row_case.pattern, in.mask);
              const Tensor k_span = in.summaries[0].k;
              in.summaries[0].v = row.out;
              const BlockExpected want = slow_block_attention(c, in);
              BlockInputs beyond = in;
              beyond.summaries.clear();
              beyond.dout = want.dsummaries[0].v;
              beyond.dlse = zeros_like(want.lse);
              const BlockExpected through = slow_block_attention(row_case, beyond);

              const BlockAttentionOutput f = kernels::block_attention_across(in.q, k_span, row, c.pattern, in.mask);
              const kernels::BlockAttentionAcrossGrads g =
                  kernels::block_attention_across_grad(in.dout, in.dlse, in.q, k_span, row, f, c.pattern, in.mask);
              const BlockAttentionGrads own = kernels::block_attention_grad(g.drow_out, g.drow_lse, in.q, in.k, in.v,
                                                                            {}, row, row_case.pattern, in.mask);
              const double tolerance = dot_tolerance(dtype, std::max(c.n, c.width) * 8);
              CHECK_CLOSE(f.out, want.out, tolerance);
              CHECK_CLOSE(f.lse, want.lse, tolerance);
              CHECK_CLOSE(kernels::add(g.dq, own.dq), kernels::add(want.dq, through.dq), tolerance);
              CHECK_CLOSE(g.dk_span, want.dsummaries[0].k, tolerance);
              CHECK_CLOSE(own.dk, kernels::add(want.dk, through.dk), tolerance);
              CHECK_CLOSE(own.dv, kernels::add(want.dv, through.dv), tolerance);
            });
    });
  }

  TEST_CASE("block_attention across rows is as accurate at large logits as rowmajor, and gives the same bits again") {
    const BlockCase c{.pattern = {.kind = BlockKind::rowmajor, .size = 32}, .n = 500, .width = 8};
    for_each_simd_target([&] {
      BlockInputs in = make_inputs(c, kFloat32);
      in.q = kernels::mul_scalar(in.q, 1000);
      const BlockAttentionOutput row =
          kernels::block_attention(in.q, in.k, in.v, {}, {.kind = BlockKind::row, .size = 32});
      in.summaries[0].v = row.out;
      const auto across = [&] {
        return kernels::block_attention_across(in.q, in.summaries[0].k, row, c.pattern, in.mask);
      };
      const auto grads = [&](const BlockAttentionOutput& f) {
        return kernels::block_attention_across_grad(in.dout, in.dlse, in.q, in.summaries[0].k, row, f, c.pattern);
      };
      const BlockResults plain = run(c, in);
      const BlockAttentionOutput f = across();
      CHECK_CLOSE(f.out, plain.forward.out, dot_tolerance(kFloat32, 32));
      CHECK_CLOSE(f.lse, plain.forward.lse, dot_tolerance(kFloat32, 1));
      const kernels::BlockAttentionAcrossGrads g = grads(f);
      CHECK_CLOSE(g.dk_span, plain.grads.dsummaries[0].k, 1e-3);
      CHECK(same_for_any_thread_count([&]() -> std::vector<Tensor> {
        const kernels::BlockAttentionAcrossGrads again = grads(across());
        return {again.dq, again.dk_span, again.drow_out, again.drow_lse};
      }));
    });
  }

  TEST_CASE("block_attention across rows sees nothing at padded positions, not even NaN") {
    const auto everything = [](const BlockCase& c, const BlockInputs& in, const Tensor& k_span,
                               const BlockAttentionOutput& row, const auto& spoil) -> std::vector<Tensor> {
      const BlockAttentionOutput f = kernels::block_attention_across(in.q, k_span, row, c.pattern, in.mask);
      BlockAttentionOutput kept{f.out.clone(), f.lse.clone(), f.lse_rest.clone()};
      spoil(kept);
      const kernels::BlockAttentionAcrossGrads g =
          kernels::block_attention_across_grad(in.dout, in.dlse, in.q, k_span, row, kept, c.pattern, in.mask);
      return {f.out, f.lse, f.lse_rest, g.dq, g.dk_span, g.drow_out, g.drow_lse};
    };
    for_each_simd_target([&] {
      for (const Padding padding : {Padding::prefix, Padding::scattered})
        for (const bool own_span : {false, true})
          for_each_float([&](DType dtype) {
            const BlockCase c{.pattern = {.kind = BlockKind::rowmajor, .size = 7, .own_span = own_span},
                              .batch = 3,
                              .heads = 2,
                              .n = 60,
                              .padding = padding};
            CAPTURE(c);
            const BlockInputs clean = make_inputs(c, dtype);
            BlockInputs dirty = make_inputs(c, dtype);
            const BlockAttentionOutput row = kernels::block_attention(clean.q, clean.k, clean.v, {},
                                                                      {.kind = BlockKind::row, .size = 7}, clean.mask);
            BlockAttentionOutput spoilt{row.out.clone(), row.lse.clone(), row.lse_rest.clone()};
            const auto spoil = [&](const std::vector<Tensor*>& tensors) {
              for (Index b = 0; b < c.batch; ++b)
                for (Index i = 0; i < c.n; ++i) {
                  if (at(clean.mask.real, {b, i}) != 0) continue;
                  for (Tensor* t : tensors) {
                    Tensor place = t->select(0, b).select(1, i);
                    fill(place, std::numeric_limits<double>::quiet_NaN());
                  }
                }
            };
            Tensor k_span = clean.summaries[0].k.clone();
            spoil({&dirty.q, &dirty.dout, &dirty.dlse, &k_span, &spoilt.out, &spoilt.lse, &spoilt.lse_rest});
            const auto leave = [](BlockAttentionOutput&) {};
            const std::vector<Tensor> want = everything(c, clean, clean.summaries[0].k, row, leave);
            const std::vector<Tensor> got = everything(c, dirty, k_span, spoilt, [&](BlockAttentionOutput& f) {
              spoil({&f.out, &f.lse, &f.lse_rest});
            });
            for (std::size_t i = 0; i < want.size(); ++i) {
              CAPTURE(i);
              CHECK(same_bits(got[i], want[i]));
            }
          });
    });
  }

  TEST_CASE("block_attention across rows of no position, of no sample and of no head") {
    for (const Shape& shape : {Shape{2, 3, 0, 4}, Shape{0, 3, 5, 4}, Shape{2, 0, 5, 4}}) {
      CAPTURE(shape);
      const Tensor x = zeros(shape, kFloat32, kCpu), lse = zeros(shape.without(3), kFloat32, kCpu);
      const BlockPattern pattern{.kind = BlockKind::rowmajor, .size = 2};
      const BlockAttentionOutput f = kernels::block_attention_across(x, x, {x, lse, lse}, pattern);
      CHECK(f.out.shape() == shape);
      CHECK(f.lse.shape() == shape.without(3));
      const kernels::BlockAttentionAcrossGrads g =
          kernels::block_attention_across_grad(x, {}, x, x, {x, lse, lse}, f, pattern);
      for (const Tensor& t : {g.dq, g.dk_span, g.drow_out}) CHECK(t.shape() == shape);
      CHECK(g.drow_lse.shape() == shape.without(3));
    }
  }

  TEST_CASE("block_attention across rows takes rowmajor patterns that are not causal, without dropout") {
    const Tensor x = normal({1, 1, 4, 2}, kFloat32, 1), lse = normal({1, 1, 4}, kFloat32, 2);
    const std::string wanted =
        "block_attention_across: expected a pattern that is rowmajor and not causal, without dropout";
    for (const BlockPattern& pattern : {BlockPattern{.kind = BlockKind::fixed, .size = 2},
                                        BlockPattern{.kind = BlockKind::rowmajor, .size = 2, .causal = true}})
      CHECK_THROWS_WITH_AS(kernels::block_attention_across(x, x, {x, lse, lse}, pattern), wanted.c_str(), Error);
    const BlockPattern pattern{.kind = BlockKind::rowmajor, .size = 2};
    CHECK_THROWS_WITH_AS(kernels::block_attention_across(x, x, {x, lse, lse}, pattern, {}, {.dropout = 0.5}),
                         wanted.c_str(), Error);
    CHECK_THROWS_AS(kernels::block_attention_across(x, x, {x, x, lse}, pattern), ShapeError);
  }
}

}  // namespace subquad::test
