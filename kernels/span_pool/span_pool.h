// Block reductions: each span of positions becomes one row, channel by channel.
//
//   max           out[b, s, c] = max_i x[b, i, c]              over the real positions i of span s
//   mean          out[b, s, c] = sum_i x[b, i, c] / count[b, s]
//   sum           out[b, s, c] = sum_i x[b, i, c]
//   log_sum_exp   out[b, s, c] = ln sum_i exp(x[b, i, c])
//
//   x [B, N, C]   spans [1 or B, S, 2] (kernels/spans), which may overlap
//   mask [B, N], undefined = every position is real
//   out [B, S, C]   arg [B, S, C], int64: the position of the maximum, the first of equal ones; max alone
//
// A span without a real position gives 0 (log_sum_exp: -inf), arg -1, and no gradient. Padded positions are not read,
// and get gradient 0. log_sum_exp of -inf alone is -inf, with a +inf it is +inf; neither has a gradient, and beside
// finite numbers a -inf counts as 0. x: float32 or float64, last stride 1 or copied;
// spans and mask are on its device.
//
// Deterministic: a span is reduced in the order of its positions (on CUDA every fourth, or, of a span of more than 256,
// every sixteenth, then these sums in order; the spans of level_spans of more than 1024 in pieces of 1024, which
// several blocks reduce), and a position adds up what its spans give it in the order of the table. Reads each position
// once per span (log_sum_exp: twice). Source: Ren et al. 2021 (Combiner).
#pragma once

#include <array>

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class SpanPool { max, mean, sum, log_sum_exp };

struct SpanPooled {
  Tensor out;  // [B, S, C]
  Tensor arg;  // [B, S, C]; undefined but for max
};
SpanPooled span_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask = {});
// The same of two tensors of one shape and dtype, on CUDA in one launch.
std::array<SpanPooled, 2> span_pool(const std::array<Tensor, 2>& xs, const Tensor& spans, SpanPool pool,
                                    const Mask& mask = {});

//   max    dx[arg[s, c], c] += dout[s, c]         mean, sum   dx[i, c] += dout[s, c] / count, dout[s, c]
//   log_sum_exp   dx[i, c] += dout[s, c] exp(x[i, c] - out[s, c]), where out is finite
//
// `forward` is what span_pool returned for the same arguments. dx [B, N, C].
Tensor span_pool_grad(const Tensor& dout, const Tensor& x, const Tensor& spans, SpanPool pool,
                      const SpanPooled& forward, const Mask& mask = {});

// The same of two tensors of one shape and dtype, each gradient added to what stands in its dx, which is contiguous and
// nobody else's memory; on CUDA in one launch.
struct SpanPoolGrad {
  Tensor dout, x;
  SpanPooled forward;
  Tensor dx;
};
void span_pool_add_grads(std::array<SpanPoolGrad, 2>& grads, const Tensor& spans, SpanPool pool, const Mask& mask = {});

// Work of each direction on one x [B, N, C]: an operation for each element of each span; 0 where the table is on a GPU.
Flops span_pool_work(const Shape& x, const Tensor& spans);

}  // namespace subquad::kernels
