// Kernels that multiply batches of small float32 matrices: a block has 64 x 64 numbers of one item's result, whose
// factors it stages in shared memory, 32 terms of the sums at a time.
#pragma once

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/matmul/cuda_small.cuh"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kSmallThreads = 256;
inline constexpr int kSmallTile = 64;   // rows and columns of the result that a block makes
inline constexpr int kSmallDepth = 32;  // terms that are staged at a time
inline constexpr int kLeftPitch = kSmallDepth + 4,
                     kRightPitch = kSmallTile + 8;  // lanes that read a fragment hit different banks

// to[r][c] = element (first_row + r, first_column + c) of a matrix [rows, columns], zeros outside; neighbouring threads
// along the side that lies without gaps.
template <int kRows, int kColumns, int kPitch>
__device__ void stage_small(const SmallMatrices<const float>& x, const float* matrix, int first_row, int first_column,
                            Index rows, Index columns, float* to) {
#pragma unroll 4
  for (int at = static_cast<int>(threadIdx.x); at < kRows * kColumns; at += kSmallThreads) {
    const int r = x.column == 1 ? at / kColumns : at % kRows, c = x.column == 1 ? at % kColumns : at / kRows;
    const Index row = first_row + r, column = first_column + c;
    to[r * kPitch + c] = row < rows && column < columns ? matrix[row * x.row + column * x.column] : 0.0f;
  }
}

// What a block works on: an item and 64 x 64 of its result.
struct SmallPlace {
  Index i, j;
  int first_row, first_column;

  __device__ SmallPlace(const SmallProducts& p, unsigned block) {
    const Index row_tiles = (p.m + kSmallTile - 1) / kSmallTile, column_tiles = (p.n + kSmallTile - 1) / kSmallTile;
    const Index item = Index{block} / (row_tiles * column_tiles);
    i = item / p.inner;
    j = item % p.inner;
    first_row = static_cast<int>(block / column_tiles % row_tiles) * kSmallTile;
    first_column = static_cast<int>(block % column_tiles) * kSmallTile;
  }

  template <class T>
  __device__ T* matrix(const SmallMatrices<T>& x) const {
    return x.data + i * x.outer + j * x.inner;
  }
};

// Calls step(left, right) for every 32 terms of the block's sums, which lie in shared memory meanwhile.
template <class F>
__device__ void for_terms(const SmallPlace& place, const SmallProducts& p, const SmallMatrices<const float>& a,
                          const SmallMatrices<const float>& b, const F& step) {
  SharedMemory shared;
  float* const left = shared.take<float>(kSmallTile * kLeftPitch);
  float* const right = shared.take<float>(kSmallDepth * kRightPitch);
  for (int first = 0; first < p.k; first += kSmallDepth) {
    __syncthreads();  // what was staged before is no longer read
    stage_small<kSmallTile, kSmallDepth, kLeftPitch>(a, place.matrix(a), place.first_row, first, p.m, p.k, left);
    stage_small<kSmallDepth, kSmallTile, kRightPitch>(b, place.matrix(b), first, place.first_column, p.k, p.n, right);
    __syncthreads();
    step(left, right);
  }
}

// f(row, column, sum) for the numbers of the block's 64 x 64 of a b, rows and columns counted within, also those behind
// the last ones: float32 itself, so that a product with the identity is exact. A thread has 4 x 4 results.
template <class F>
__device__ void multiply_small(const SmallPlace& place, const SmallProducts& p, const SmallMatrices<const float>& a,
                               const SmallMatrices<const float>& b, const F& f) {
  const int row = static_cast<int>(threadIdx.x) / 16 * 4, column = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[4][4] = {};
  for_terms(place, p, a, b, [&](const float* left, const float* right) {
#pragma unroll 8
    for (int k = 0; k < kSmallDepth; ++k) {
      const Pack<float, 4> columns = load_pack<4>(right + k * kRightPitch + column);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float x = left[(row + r) * kLeftPitch + k];
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[r][c] += x * columns.at[c];
      }
    }
  });
#pragma unroll
  for (int r = 0; r < 4; ++r)
#pragma unroll
    for (int c = 0; c < 4; ++c) f(row + r, column + c, sums[r][c]);
}

// Blocks for all items, and the shared memory of each.
inline Index small_blocks(const SmallProducts& p) {
  return p.outer * p.inner * ((p.m + kSmallTile - 1) / kSmallTile) * ((p.n + kSmallTile - 1) / kSmallTile);
}
inline std::size_t small_bytes() {
  return shared_size<float>(kSmallTile * kLeftPitch) + shared_size<float>(kSmallDepth * kRightPitch);
}

}  // namespace subquad::kernels::cuda
