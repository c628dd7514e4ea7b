// block_attention of float32 heads at most 128 wide (in fp32: 64) on tensor cores, in precision(), for the patterns in
// which what a query sees of the tokens is one stretch of its neighbours: fixed, window, row.
#pragma once

#include "subquad/kernels/block_attention/cuda_pattern.cuh"

namespace subquad::kernels::cuda {

// Not with dropout, whose bits cost more registers than there are.
bool fits_lines(const Tensor& q, const Tensor& v, const BlockSight& sight, const BlockAttentionOptions& options);

void block_attention_lines(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                           const Alive& alive, const BlockAttentionOptions& options, BlockAttentionOutput& result);

void block_attention_grad_lines(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                const Tensor& v, const std::vector<Summaries>& summaries,
                                const BlockAttentionOutput& forward, const Alive& alive,
                                const BlockAttentionOptions& options, BlockAttentionGrads& grads);

// Positions begin ... end - 1.
struct Range {
  int begin, end;

  // Those of the 32 from `first` on, one bit each.
  __device__ unsigned bits(int first) const;
};

// What neighbours see, and who sees them.
class LineSights {
 public:
  explicit LineSights(const BlockSight& of) : sight(of), count(std::max(of.n, of.queries)) {}

  BlockSight sight;
  int count;  // of positions: tokens, and cells behind the last of them that are queries

  // The tokens that query i sees, and the queries that see token i.
  __device__ Range tokens(int i) const {
    return partners(i, sight.causal || sight.sight == LineSight::before, sight.causal ? 1 : 0,
                    sight.sight == LineSight::after);
  }
  __device__ Range queries(int i) const {
    return partners(i, sight.sight == LineSight::after, 0, sight.causal || sight.sight == LineSight::before);
  }

  // fixed: query i sees the summaries 0 ... summary_end - 1 but for the hidden one (-1: none); summary r is seen by
  // summary_queries but for the hidden ones.
  __device__ int summary_end(int i) const {
    return sight.tables == 0 ? 0 : sight.causal ? i / sight.size : sight.summaries;
  }
  __device__ int hidden_summary(int i) const { return sight.causal || sight.own_span ? -1 : i / sight.size; }
  __device__ Range summary_queries(int r) const {
    const int behind = (r + 1) * sight.size < sight.n ? (r + 1) * sight.size : sight.n;
    return {sight.causal ? behind : 0, sight.n};
  }
  __device__ Range hidden_queries(int r) const {
    if (sight.causal || sight.own_span) return {0, 0};
    return {r * sight.size, (r + 1) * sight.size};
  }

 private:
  // The own segment, row or window; only up to i (and `own` more), only from i on (causal) or behind it.
  __device__ Range partners(int i, bool up_to, int own, bool from) const {
    Range all{0, count};
    if (sight.kind == BlockKind::window) {
      all.begin = i < sight.size ? 0 : i - sight.size;
      all.end = count - i <= sight.size ? count : i + sight.size + 1;
    } else {
      all.begin = i / sight.size * sight.size;
      all.end = count - all.begin <= sight.size ? count : all.begin + sight.size;
    }
    if (up_to) all.end = i + own;
    if (from) all.begin = sight.causal ? i : i + 1;
    return all;
  }
};

}  // namespace subquad::kernels::cuda
