// FSAT's hidden-state cross: all n*n products a[i] * b[j] of two sequences, pooled along their n cyclic diagonals (the
// lags) and along their n columns. Channel by channel, with n the sample's length and means and sums over i < n:
//
//   abar = shift + 1/n sum_i a[i]     at[i] = a[i] + shift - abar     bt[i] = b[i] - bbar
//   lag[t] = 1/n sum_i at[i] bt[(i + t) mod n]   t < n         col[j] = abar bt[j]   j < n
//
// and, with e = dlag / n,
//
//   da[i] = sum_t e[t] bt[(i + t) mod n] + 1/n sum_j dcol[j] bt[j]
//   db[j] = sum_t e[t] at[(j - t) mod n] + abar (dcol[j] - 1/n sum_i dcol[i])
//   dshift = sum over samples of sum_j dcol[j] bt[j]
//
// (the gradient of centring takes means off, but those of the sums over t are 0, since at and bt are centred).
//
// The shift is a bias of a, which the lags do not see; added to its mean it costs nothing.
//
//   a, b, lag, col and their gradients [B, N, C]   shift [C] or undefined (0)
//   contiguous, one dtype (float32, float64); any extent may be 0
//
// `mask` gives the lengths (all N without one) and must be a prefix mask: Error otherwise. Rows from n on are not read,
// and are 0 in every result; a sample's results do not depend, in any bit, on N or on other samples.
//
// By the FFT (kernels/fft): O(C n log n) per sample, no n x n array. Per pair of sequences forward 3 real transforms,
// backward 5, or 3 where forward has been asked to `keep` the spectra of at and bt (circular/spectra.h says of which
// samples, and their bytes), of length n when n is an even product of 2, 3, 5, else of the smallest 2^a, 3 2^a or
// 5 2^a >= 2 n - 1.
// Deterministic: a channel is worked on by one thread. On CUDA as circular.h: one launch forward and one backward; for
// longer samples four and five, and what counts as longer, and with it the bits, is the same on devices with as much
// shared memory per block. Source: our reconstruction of FSAT, nn/attention/fsat.h.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"
#include "subquad/kernels/circular/spectra.h"

namespace subquad::kernels {

struct HiddenCross {
  Tensor lag, col;
};
HiddenCross hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask = {}, const Tensor& shift = {},
                         CyclicSpectra* keep = nullptr);

struct HiddenCrossGrads {
  Tensor da, db;
  Tensor dshift_parts = {};  // [B, C], of each sample: to be added up; undefined without a shift
};
// An upstream gradient that is undefined counts as 0.
HiddenCrossGrads hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b,
                                   const Mask& mask = {}, const Tensor& shift = {}, const CyclicSpectra& spectra = {});

// Nominal work on sequences [B, N, C]: the transforms, and forward 8, backward 16 more for each number.
Flops hidden_cross_work(const Shape& shape);
Flops hidden_cross_grad_work(const Shape& shape, bool from_spectra = false);

}  // namespace subquad::kernels
