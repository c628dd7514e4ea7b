// The largest elements along the last axis, and FSAT's choice of lags and columns by their keys.
//
//   values[r, 0] >= values[r, 1] >= ...  the k largest of x[r, :]       indices[r, s]: where x[r, :] holds values[r, s]
//
//   x [..., N]   values [..., k]   indices int64 [..., k];   x float32 or float64, contiguous; 0 <= k <= N
//
// Of equal elements the one with the lower index comes first (-0 equals +0), so a result is a function of x alone. A
// NaN is a NanError that names its place; on CUDA, where that would be to wait for the device, a NaN is larger than
// every number. Work, O(N + k log k) comparisons on a CPU whatever the order of the elements: x is read once from
// memory, for NaNs and the maxima of four elements each, of which a bar is bisected that the k best reach; it is read
// again only where a maximum does, and what is found there is put in order, up to 256 by comparing all pairs. A thread
// has memory for half a row more, for up to seven where k is so large that all is kept. A row of float32 is shorter
// than 2^31 there. On CUDA a block has a row, reads it once from memory (up to 48 KB, then five times in float32) and
// finds the k-th largest by digits of 11 bits; 2048 and fewer are sorted in shared memory, more in memory, 8 bytes
// (float64: 16) for each, in a power of two of them per row. Where rows are few and long (up to 64, from 16384 elements
// on), blocks have parts of them, of 8192 elements or more, and one launch more merges what each found. Source of the
// choice: our reconstruction of FSAT, nn/attention/fsat.h.
#pragma once

#include <array>

#include "subquad/core/error.h"
#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

class NanError : public Error {
 public:
  using Error::Error;
};

struct TopK {
  Tensor values, indices;
};
TopK top_k(const Tensor& x, Index k);

// dx of `shape` [..., N]: dvalues where x was taken, 0 elsewhere. An index outside of 0 ... N - 1 is an Error; on CUDA
// it is left out, and a row must not name a place twice (top_k does not).
Tensor top_k_grad(const Tensor& dvalues, const Tensor& indices, const Shape& shape);

// For each row of keys [B, H, N], of which the first n (the sample's length) count: min(k, n) indices below n, int64
// [B, H, k], in ascending order, the rest -1. The indices t mod n with |t| <= window are taken first (window = -1:
// none), then the largest keys, of equal ones the lower index. A prefix mask or none. window >= 0 wants k >= 2 window +
// 1: Error otherwise. Keys at positions from n on are not read.
Tensor choose_top_k(const Tensor& keys, Index k, Index window = -1, const Mask& mask = {});

// Two choices for the same samples from keys of one shape: on CUDA in one launch.
struct TopKChoice {
  Tensor keys;
  Index k = 0, window = -1;
};
std::array<Tensor, 2> choose_top_k_pair(const TopKChoice& first, const TopKChoice& second, const Mask& mask = {});

}  // namespace subquad::kernels
