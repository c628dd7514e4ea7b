#include "subquad/kernels/dropout/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/dropout/keep.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// x [B, P, D] as rows of D. One thread per four features of a row, so that no Philox word is drawn twice; neighbouring
// threads take neighbouring features. Packed: rows start at a multiple of four elements, and a thread's four move at
// once.
template <class T, bool Packed>
__global__ void dropout_quads(const T* x, KeepKey key, Index rows, Index positions, Index width, T* out) {
  const Index quads = (width + 3) / 4, i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= rows * quads) return;
  const Index row = i / quads, quad = i % quads, first = row * width + 4 * quad;
  const Pack<T, 4> factors = keep_factors<T>(key, row / positions, row % positions, quad);
  if constexpr (Packed) {
    Pack<T, 4> values = load_pack<4>(x + first);
    for (int j = 0; j < 4; ++j) values.at[j] *= factors.at[j];
    store_pack(out + first, values);
  } else {
    for (int j = 0; j < 4; ++j)
      if (4 * quad + j < width) out[first + j] = x[first + j] * factors.at[j];
  }
}

template <class T>
void launch_quads(const Tensor& x, const KeepKey& key, Tensor& out) {
  const Index width = x.dim(-1), rows = x.size() / width, quads = (width + 3) / 4;
  const T* from = x.data<T>();
  T* to = out.data<T>();
  const bool packed = can_pack<4>(from, width) && can_pack<4>(to, width);
  launch(packed ? dropout_quads<T, true> : dropout_quads<T, false>, dim3(blocks_for("dropout", rows * quads, kThreads)),
         dim3(kThreads), 0, current_stream(), from, key, rows, rows / x.dim(0), width, to);
}

}  // namespace

void dropout(const Tensor& x, double probability, const RandomState& random, Tensor& out) {
  if (x.size() == 0) return;
  visit_float("dropout", x.dtype(), [&]<class T>(Type<T>) { launch_quads<T>(x, keep_key(probability, random), out); });
}

}  // namespace subquad::kernels::cuda
