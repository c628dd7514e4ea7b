// Softmax attention in which tokens seen directly and summaries of whole spans of tokens share one normaliser, fused:
// logits and weights never exist as an array.
//
//   s[i, e] = scale * q[i] . key[e]      for the entries e that query i sees: tokens, and rows of summary tables
//   lse[i] = ln sum_e exp(s[i, e])       p[i, e] = exp(s[i, e] - lse[i])
//   out[i] = sum_e p[i, e] value[e]      per batch element and head
//
//   q [B, H, Q, E]      k [B, H, N, E]   v [B, H, N, C]   summaries: tables of keys [B, H, S, E], values [B, H, S, C]
//   out [B, H, Q, C]    lse, lse_rest [B, H, Q]           Q = N but for two patterns, see below
//
// What a query sees follows from the pattern and from positions alone. g(i) = i / size is the segment (or grid row) of
// i, y(i) = i % size its column; causal patterns are in brackets:
//
//   pattern     tokens                            summaries: one row for each ...              which of them
//   fixed       own segment [up to i]             0: segment g                                 g != g(i) [g < g(i)]
//   logsparse   i, and i XOR 1 [if i is odd]      0: aligned block (l, b) of 2^l tokens,       b = (i >> l) XOR 1
//                                                    l = 1, 2, ..., level after level          [if bit l of i is 1]
//   vertical    own row [up to i], own column     0: cell: its column above it; not causal,    own row, columns != y(i)
//               [above i]                         1: cell: its column below it
//   horizontal  the same                          0: cell: its row left of it, 1: right of it  own column, rows != g(i)
//                                                                                              [rows < g(i)]
//   mixture     the same                          those of vertical, then of horizontal        both
//   rowmajor    own row [up to i]                 0: token: its row as seen from it            own column, rows != g(i)
//                                                                                              [rows < g(i)]
//   row         own row: all, before, after i     none
//   column      own column: all, before, after    none
//   window      |i - j| <= size [and j <= i]      none
//
// own_span (fixed and rowmajor, not causal): the own segment's (row's) summary is seen, too; without it, it is hidden
// from `fixed` by weights of 0, which a number that is not finite would show through. A grid has ceil(N / size) rows of
// `size` cells, those behind the last token included (their columns and rows hold tokens). `row` and `column` make its
// summaries: before and after take one query per cell, and padded cells are queries like others, as their summary is
// that of other tokens. `window` is sliding-window attention.
//
// Mask: a padded token is seen by nobody, a summary only if its span holds a real token (rowmajor: if its token is
// real). Such entries are skipped, not masked: whatever stands there, how much padding there is and what else is in the
// batch cannot change one bit. A query that is padded or sees nothing has out 0, lse -inf, and gives no gradient.
//
// Dropout (probability > 0) zeroes direct weights after the softmax and scales the others by 1 / (1 - probability);
// summaries keep theirs. Bits: word(sample, position i H + h, feature j) of core/rng.h.
//
// One dtype (float32, float64), one device; any strides (copied where the last is not 1); `out` and gradients lie in
// memory as [B, N, H, E]. Deterministic: the same bits for any number of threads. Work: 2 (E + C) flops per query and
// entry forward, 2 (3 E + 2 C) backward, where queries of a line (segment, row, column, 32 neighbours) take 32 at a
// time whatever one of them sees (16 where a line has no more). Columns of up to 64 cells go 16 abreast, each query
// taking four rows of keys at a time. Memory: one line's entries per thread (of columns abreast, those of 16), in
// backward with their gradients; gradients of the rows that several lines see (spans of fixed, large blocks of
// logsparse, rims of window) once more for each of eight chunks.
//
// On CUDA a query, and in backward a row of a table, has one owner, which walks over all that it sees or that see it:
// 2 (4 E + 3 C) flops backward. One number per query is kept in backward, and with a mask that is no prefix one byte
// per row of the summaries, and the gradients of summaries that many queries see once for each 512 queries (fixed) or
// 1024 (logsparse, blocks of more than 1024 tokens). float32 heads up to 128 wide of fixed, window and row without
// dropout are multiplied on tensor cores in precision(), as in kernels/attention (in fp32 up to 64); the other
// patterns, and float64, by groups of eight lanes in sums of their own dtype.
//
// Source: Ren et al. 2021 (Combiner); nn/attention/combiner.h tells what is theirs and what is ours.
#pragma once

#include <vector>

#include "subquad/core/mask.h"
#include "subquad/core/rng.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class BlockKind { fixed, logsparse, vertical, horizontal, mixture, rowmajor, row, column, window };
enum class LineSight { all, before, after };  // what a query sees of its own line

struct BlockPattern {
  BlockKind kind = BlockKind::fixed;
  Index size = 0;  // of a segment, columns of a grid, reach of a window; logsparse has none
  bool causal = false;
  bool own_span = false;
  LineSight sight = LineSight::all;  // row, column
};

// For n tokens: the cells of the grid, how many queries there are, and how many rows each summary table has. A size
// above n counts as n.
Index grid_cells(const BlockPattern& pattern, Index n);
Index query_rows(const BlockPattern& pattern, Index n);
std::vector<Index> summary_rows(const BlockPattern& pattern, Index n);

// Tokens and summaries that a query sees, on average: what counts of work are made of. Exact where `size` divides n,
// and for logsparse where n is a power of two; about right elsewhere.
double seen_entries(const BlockPattern& pattern, Index n);

struct Summaries {
  Tensor k, v;  // [B, H, S, E], [B, H, S, C]
};

struct BlockAttentionOptions {
  double scale = 0;    // 0 = 1 / sqrt(E)
  double dropout = 0;  // on direct weights
  RandomState random = {};
};

struct BlockAttentionOutput {
  Tensor out;       // [B, H, Q, C]
  Tensor lse;       // [B, H, Q]
  Tensor lse_rest;  // [B, H, Q], what lse lost by rounding
};
BlockAttentionOutput block_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const std::vector<Summaries>& summaries, const BlockPattern& pattern,
                                     const Mask& mask = {}, const BlockAttentionOptions& options = {});

// Gradients of sum(out * dout) + sum(lse * dlse); dlse may be undefined. With delta[i] = dout[i] . out[i] - dlse[i] and
// ds[i, e] = p[i, e] (dout[i] . value[e] - delta[i]), over all i that see e:
//
//   dq[i] = scale sum_e ds[i, e] key[e]      dkey[e] = scale sum_i ds[i, e] q[i]      dvalue[e] = sum_i p[i, e] dout[i]
//
// `forward` is what block_attention returned for the same arguments; at padded positions nothing is read.
struct BlockAttentionGrads {
  Tensor dq, dk, dv;                  // memory laid out as [B, N, H, E]; of a window as in kernels/attention
  std::vector<Summaries> dsummaries;  // like summaries
};
BlockAttentionGrads block_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                         const Tensor& v, const std::vector<Summaries>& summaries,
                                         const BlockAttentionOutput& forward, const BlockPattern& pattern,
                                         const Mask& mask = {}, const BlockAttentionOptions& options = {});

// Of patterns without summaries: the same with dk and dv added to what stands there, [B, H, N, .] with any strides
// (last 1), nobody else's memory. Returns dq.
Tensor block_attention_add_grads(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const BlockAttentionOutput& forward, const BlockPattern& pattern, Tensor& dk,
                                 Tensor& dv, const Mask& mask = {}, const BlockAttentionOptions& options = {});

// rowmajor, not causal and without dropout, where each query's row is summed already, and as those sums are also the
// summaries' values: the own row is taken up, not seen again, which leaves L - 1 entries of a query
// (nn/attention/combiner.h). On the CPU alone.
//
//   row = block_attention(q, k, v, {}, {.kind = row}, mask)
//   block_attention_across(q, k_span, row) = block_attention(q, k, v, {{k_span, row.out}}, rowmajor, mask)
//
// Gradients of q through other rows alone; what goes through the own one is in those of row.out, which are summed over
// both its uses, and of row.lse: block_attention_grad of `row` takes them on to q, k and v.
//
//   drow_lse[i] = p[i] (dout[i] . row.out[i] - delta[i])      p[i] = exp(row.lse[i] - lse[i])
//   drow_out[i] = p[i] dout[i] + the sum over all that see row.out[i] as a summary
//
// Nothing of `row` and `forward` is read at padded positions.
BlockAttentionOutput block_attention_across(const Tensor& q, const Tensor& k_span, const BlockAttentionOutput& row,
                                            const BlockPattern& pattern, const Mask& mask = {},
                                            const BlockAttentionOptions& options = {});
struct BlockAttentionAcrossGrads {
  Tensor dq, dk_span, drow_out, drow_lse;
};
BlockAttentionAcrossGrads block_attention_across_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q,
                                                      const Tensor& k_span, const BlockAttentionOutput& row,
                                                      const BlockAttentionOutput& forward, const BlockPattern& pattern,
                                                      const Mask& mask = {}, const BlockAttentionOptions& options = {});

}  // namespace subquad::kernels
