// Depth-wise convolution along the positions, with one filter per head for all of its features, added to `base`.
//
//   out[b, h, n, :] = base[b, h, n, :] + sum_t taps[h, t] x[b, h, n + t - K / 2, :]
//   dx[b, h, n, :] = sum_t taps[h, t] dout[b, h, n - t + K / 2, :]      dtaps[h, t] = sum_bnc dout[n] x[n + t - K / 2]
//
//   x, base, out, dx [B, H, N, C]   taps, dtaps [H, K], K odd   mask [B, N]; out and dx in memory [B, N, H, C]
//
// Positions outside of the sequence count as 0 and so do padded ones, whatever stands there; an undefined mask means:
// every position is real. `base` undefined counts as 0. dx is 0 at padded positions. With PaddedRows::kept they do get
// an `out`, and dbase is dout; with PaddedRows::zero their `out` is 0 and base, and in backward dout, are not read
// there: they count as 0, and so does dbase. float32 or float64, any strides.
//
// Deterministic: an element is summed by one thread in the order of the positions; dtaps adds partial sums of 256
// positions (on CUDA 128) in an order that padding does not change. Work: 2 K flops per element of out, 4 K backward.
// Memory: 256 + K rows of a head per thread; on CUDA dtaps once for every 128 positions of a head and 32 features.
// Source: the skip over the values in the official code of Xiong et al. 2021, LRA/code/attention_nystrom.py.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class PaddedRows { kept, zero };  // of out

Tensor conv1d(const Tensor& x, const Tensor& taps, const Mask& mask = {}, const Tensor& base = {},
              PaddedRows padded = PaddedRows::kept);

struct Conv1dGradOptions {
  PaddedRows padded = PaddedRows::kept;
  bool wants_dbase = false;
  bool taps_in_parts = false;  // for who adds them up anyway: saves a launch on CUDA. Parts of padding stand last
};
struct Conv1dGrads {
  Tensor dx;
  Tensor dtaps;  // or, if it was asked for in parts, [P, H, K] to be added over the first dimension: P is 1 on the CPU,
                 // 1024 at most
  Tensor dbase;  // a tensor of its own where padded rows are 0 and it is asked for, else undefined: it is dout
};
Conv1dGrads conv1d_grad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask = {},
                        const Conv1dGradOptions& options = {});

}  // namespace subquad::kernels
