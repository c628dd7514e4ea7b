// FSAT's score heads: per head, a linear map plus a hidden layer that turn each position's features into one number.
//
//   z[b,n,h,m] = sum_r f[b,n,h,r] w1[h,r,m] + b1[h,m]                            f[b,n,h,r] = feature[b, n, h R + r]
//   score[b,h,n] = sum_r u[h,r] f[b,n,h,r] + sum_m w2[h,m] gelu(z[b,n,h,m])      gelu(z) = (z/2) (1 + erf(z / sqrt 2))
//
//   dz[m] = dscore w2[m] gelu'(z[m])      df[r] = dscore u[r] + sum_m w1[r,m] dz[m]
//   du[r] = sum dscore f[r]   dw1[r,m] = sum f[r] dz[m]   db1[m] = sum dz[m]   dw2[m] = sum dscore gelu(z[m])
//   where the sums run over all b, n
//
//   feature [B, N, H*R]   u [H, R]   w1 [H, R, M]   b1, w2 [H, M]   score [B, H, N]
//   contiguous, one dtype (float32, float64), one device; H >= 1; any other extent may be 0
//
// z is never stored: 64 positions' worth of it live on the stack (on CUDA, 16 values per thread in registers), and
// backward computes it again. Deterministic: sums over positions run over 64 (CUDA: 128) of a sample at a time, and
// these parts are added in order, so that rows of zero dscore at a sample's end (padding) change no bit. Work: B N H (4
// R M + 2 R + 2 M) flops and as many gelus as hidden values forward, 3 times the products backward; on CUDA one launch
// forward and two backward, which keep one set of the parameters' gradients for every 128 positions. Always float32
// sums of float32 products, whatever precision() is: the products are small. Source: our reconstruction of FSAT,
// nn/attention/fsat.h.
#pragma once

#include <array>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct ScoreHeads {
  Tensor u, w1, b1, w2;
};
Tensor score_heads(const Tensor& feature, const ScoreHeads& heads);

struct ScoreHeadsGrads {
  Tensor dfeature;
  ScoreHeads dheads;
};
ScoreHeadsGrads score_heads_grad(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads);

// Two sets of heads with features of their own, all sizes alike: on CUDA in the launches of one.
using ScoreHeadsPair = std::array<ScoreHeads, 2>;
std::array<Tensor, 2> score_heads_pair(const std::array<Tensor, 2>& features, const ScoreHeadsPair& heads);
std::array<ScoreHeadsGrads, 2> score_heads_pair_grad(const std::array<Tensor, 2>& dscores,
                                                     const std::array<Tensor, 2>& features,
                                                     const ScoreHeadsPair& heads);

}  // namespace subquad::kernels
