#include "subquad/kernels/block_attention/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/block_attention/cuda_lines.cuh"
#include "subquad/kernels/block_attention/cuda_plain.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// A thread per row of a table looks for the first real token that it stands for.
__global__ void block_attention_alive_rows(BlockSight sight, Reals reals, Index rows, bool* flags) {
  const Index row = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= rows) return;
  const Index of_sample = Index{sight.tables} * sight.summaries;
  const SampleReals real = reals.sample(row / of_sample);
  const int r = static_cast<int>(row % of_sample);
  const Stretch tokens = sight.tokens_of(1 + r / sight.summaries, r % sight.summaries);
  bool any = false;
  for (int e = 0; e < tokens.count && !any; ++e) any = real[tokens.at(e)];
  flags[row] = any;
}

// Flags live as long as this.
struct AliveRows {
  BlockSight sight;
  Tensor flags;

  AliveRows(const BlockPattern& pattern, const Mask& mask, Index positions)
      : sight(pattern, positions), flags(block_attention_alive(sight, mask)) {}
  Alive of(const Mask& mask) const {
    return {sight, Reals(mask, sight.n), flags.defined() ? flags.data<bool>() : nullptr};
  }
};

}  // namespace

Tensor block_attention_alive(const BlockSight& sight, const Mask& mask) {
  if (!mask.defined() || mask.prefix || sight.tables == 0) return {};
  Tensor flags = empty({mask.real.dim(0), sight.tables, sight.summaries}, kBool, mask.real.device(), "block_attention");
  if (flags.size() == 0) return flags;
  launch(block_attention_alive_rows, dim3(blocks_for("block_attention", flags.size(), kThreads)), dim3(kThreads), 0,
         current_stream(), sight, Reals(mask, sight.n), flags.size(), flags.data<bool>());
  return flags;
}

void block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                     const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                     BlockAttentionOutput& result) {
  if (result.lse.size() == 0) return;
  const AliveRows rows(pattern, mask, k.dim(2));
  if (fits_lines(q, v, rows.sight, options))
    return block_attention_lines(q, k, v, summaries, rows.of(mask), options, result);
  block_attention_plain(q, k, v, summaries, rows.of(mask), options, result);
}

void block_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<Summaries>& summaries, const BlockAttentionOutput& forward,
                          const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                          BlockAttentionGrads& grads) {
  if (forward.lse.size() == 0) return;  // then there is no token either
  const AliveRows rows(pattern, mask, k.dim(2));
  if (fits_lines(q, v, rows.sight, options))
    return block_attention_grad_lines(dout, dlse, q, k, v, summaries, forward, rows.of(mask), options, grads);
  block_attention_grad_plain(dout, dlse, q, k, v, summaries, forward, rows.of(mask), options, grads);
}

}  // namespace subquad::kernels::cuda
