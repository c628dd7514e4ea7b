// What the doors of all attentions over heads check and prepare alike.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct AttentionOutput;

// q [B, H, Nq, E >= 1], k [B, H, Nk, E], v [B, H, Nk, Ev >= 1]: one float dtype and device; `keys` is undefined or
// [B, Nk] on the same device; scale is finite.
void check_heads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, double scale);

// What backward gets: dout and forward.out [B, H, Nq, Ev], dlse (may be undefined) and forward.lse [B, H, Nq], of q's
// dtype and device.
void check_upstream(const char* op, const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& v,
                    const AttentionOutput& forward);

double given_or_default_scale(double scale, Index width);  // 0 stands for 1 / sqrt(width)

// Features of one head must be contiguous; rows may lie anywhere.
Tensor with_unit_stride(const Tensor& t);

// [B, H, N, width] in the memory order [B, N, H, width], B, H and N as in `like`.
Tensor empty_heads(const char* op, const Tensor& like, Index width);

// The same for the gradients of q, k and v. On a GPU, where they are alike, they are [B, N, 3, H, E] together: a
// position's three rows side by side, from which linear_group makes the gradients of all three weights at once.
struct HeadGrads {
  Tensor q, k, v;
};
HeadGrads empty_head_grads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v);

}  // namespace subquad::kernels
