// Nystromformer: softmax attention by way of m landmarks. Xiong et al. 2021; official code:
// LRA/code/attention_nystrom.py.
//
//   q~, k~ = means of q and k over m segments            [B, H, m, E]
//   F = softmax(q k~^T / sqrt(E))                        [B, H, N, m], never stored
//   A = softmax(q~ k~^T / sqrt(E)),  Z = pinv(A)         [B, H, m, m]
//   S = softmax(q~ k^T / sqrt(E))                        [B, H, m, N], never stored
//   heads = F (Z (S v)) + conv(v)                        [B, H, N, E]; one filter of `conv_kernel` taps per head
//
// F and S are applied by the fused attention: time N m E + T m^3, memory N E + T m^2. Z is a damped inverse, and T
// belongs to the model: see kernels/pinv. Where the tokens are no more than the landmarks nothing is approximated
// (exact_when_covered): then every token is its own landmark, and the heads are softmax attention. The order
// (F Z) (S v) of published code is there for comparison: it stores F Z [B, H, N, m] and, where a mask may leave some
// samples covered, computes theirs beside it.
//
// What padding does (config.mask; real = real tokens, filled = landmarks of segments that hold one):
//
//                  isolated (default)      official            huggingface    lucidrains
//   q, k           real only               0 where padded      as they are    0 where padded
//   a mean's       real tokens             the segment's       the segment's  real tokens
//   divisor                                length              length
//   F              filled columns          all columns         all columns    filled; padded rows uniform
//   A              filled; else identity   all                 all            filled; other rows uniform
//   S              real columns            real columns        real columns   real; rows not filled uniform
//   conv's input   real only               real only           all of v       real only
//   padded rows    0                       as they come        as they come   as they come
//   segments       of the real tokens      of N                of N           of N, counted from the end
//
// Where m does not divide N, lucidrains' code puts rows of zeros in front of q, k and values, up to the next multiple.
// A mask hides them; without one they are tokens like the others, with logits of 0, and count in the means: that
// result, which has no rows for them, is not the one of a mask full of real tokens. Nor does that code know
// exact_when_covered.
//
// Only `isolated` keeps the promise that a sample's result depends neither on its padding nor, with the exact start of
// pinv, on the rest of the batch; the others reproduce published code. There, a row of S that sees no token is 0. With
// kernels_first what is not covered keeps it up to rounding: the product with F Z is a BLAS's, whose sums N cuts. On
// CUDA padding behind the tokens changes no bit, padding between them the rounding of attention (kernels/attention).
#pragma once

#include "subquad/nn/attention/qkv_attention.h"

namespace subquad::nn {

// Error naming the option that has no legal value, or does not go with another one.
void check_nystrom(const NystromConfig& config);

// The mechanism without projections: q, k [B, H, N, E], values [B, H, N, C] -> [B, H, N, C]. Linear in the values.
// `taps` [H, K] of the convolution, undefined = none.
Variable nystrom_attention(const Variable& q, const Variable& k, const Variable& values, const Variable& taps,
                           const Mask& mask, const NystromConfig& config);

// The matrices themselves, whatever exact_when_covered says, for study: F and S take memory N m, and S has columns for
// the N tokens only. Outside any graph.
struct NystromFactors {
  Tensor f, a, z, s;
  Tensor means;  // [B, m, N]: what each landmark averages, q~ = means q and k~ = means k; rows of empty ones are 0
};
NystromFactors nystrom_factors(const Variable& q, const Variable& k, const Mask& mask, const NystromConfig& config);

// How far each Z_t of kernels/pinv is from inverting A, t = 0 ... T (Z_T = Z). Z damps what it cannot invert, so of a
// nearly singular A some of it stays.
struct PinvResiduals {
  Tensor frobenius;  // [T + 1, B, H], float64 on the CPU: |A Z_t - I|, the root of the sum of squares
  Tensor largest;    // the same of the largest |(A Z_t - I)_ij|
};
PinvResiduals pinv_residuals(const Tensor& a, const NystromConfig& config);  // a [B, H, m, m], of NystromFactors

class NystromAttention : public QkvAttention {
 public:
  NystromAttention(const Place& place, const AttentionConfig& config);

  NystromFactors factors(const AttentionInput& in) const;
  const NystromConfig& config() const { return config_; }
  const Variable& taps() const { return taps_; }  // of the convolution, [H, K]; undefined without it

 protected:
  Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const override;

 private:
  NystromConfig config_;
  Variable taps_;  // [H, conv_kernel], "conv"; undefined without the skip
};

}  // namespace subquad::nn
