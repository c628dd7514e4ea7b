// Paramixer (Yu et al. 2022): the mixing matrix is a product of M sparse factors, whose nonzeros small perceptrons make
// from the data, row by row. No query, no key, no softmax, one head. Official code: LRA/paramixer.py.
//
//   V_0 = g(values)                        g: D -> hidden -> D
//   w_m = f_m(data)                        f_m: D -> hidden -> L, the L nonzeros of every row of W_m
//   V_m = W_m V_{m-1} + R_m                R_m = V_{m-1} (running), V_0 (fixed) or 0 (none)         m = 1 ... M
//   out = dropout(V_M)
//
// Where the nonzeros of row i stand, n the number of real positions of the sample (kernels/chord_matmul/links.h):
//
//   chord      i, i + 1, i + 2, i + 4, ... modulo n, the same in every factor
//   cdil       i, i + d, i + 2d, ..., i - d, i - 2d, ... modulo n, with d = 2^(m-1)
//   butterfly  i and i XOR 2^(m-1); a partner beyond n drops out
//
// M counts log2 of max_length, rounded by `rule`, at least 1. With ceil every position reaches every other one at any
// length up to max_length; with floor and chord some pairs stay apart, as do some with butterfly where n is no power of
// two. Longer sequences are mixed as well, as far as the factors reach.
// Padding: each sample is mixed among its own real positions, whatever the mask. Differs from the published code, which
// mixes padding like tokens; `mix_padding` does that, too, and then no mask is read.
// Cost per sample: 2 M N (D H + H L) + 4 N D H + 2 M N L D flops.
#pragma once

#include "subquad/autograd/ops/chord_matmul.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/nn/dropout.h"
#include "subquad/nn/factor_mlp.h"

namespace subquad::nn {

class Paramixer : public Attention {
 public:
  Paramixer(const Place& place, const AttentionConfig& config);  // Error naming the option that does not fit

  const std::vector<Links>& links() const { return links_; }  // of each factor
  Variable link_weights(const AttentionInput& in) const;      // w [M, B, N, L], 0 at padding

  // A_m [B, 1, N, N] with V_m = A_m V_0, 1 <= m <= M, else Error. That of all factors is mixing_matrix.
  Tensor partial_matrix(const AttentionInput& in, Index factors) const;
  std::vector<std::vector<Index>> reach(Index positions) const;  // link_reach of its links

  Heads project(const AttentionInput& in) const override;

 protected:
  Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const override;
  Variable output(const AttentionInput& in, const Variable& mixed) const override;

 private:
  // What the first factors, those of these links, make of V_0 = values [B, 1, N, C].
  Variable through(const std::vector<Links>& first, const AttentionInput& in, const Variable& values) const;
  Mask mask_of(const AttentionInput& in) const { return mix_padding_ ? Mask() : in.mask; }

  std::vector<Links> links_;
  MixResidual residual_;
  bool mix_padding_;
  FactorMlp g_;
  FactorMlp f_;
  Dropout dropout_;
};

// How many of n positions each one reaches along the links of the first 1, 2, ... M factors, with the residual,
// whatever the weights: [M][n].
std::vector<std::vector<Index>> link_reach(const std::vector<Links>& links, MixResidual residual, Index positions);

// log2 of a length, rounded, at least 1.
Index factor_count(Index length, FactorRule rule);

}  // namespace subquad::nn
