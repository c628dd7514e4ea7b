// The coefficient c of pinv's start and the way of its gradient back into the matrices, for blocks that own
// a matrix: coefficient.h on the device.
#pragma once

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/pinv/pinv.h"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

// Threads of a block, and how many warps they are.
__device__ inline int block_threads() {
  return static_cast<int>(blockDim.x);
}
__device__ inline int block_warps() {
  return block_threads() / kWarp;
}

// The largest of some numbers >= 0 and the first place that has it; 0 and 0 where there is none.
template <class T>
struct Top {
  T value = 0;
  Index at = 0;

  __device__ void take(T other, Index place) {
    if (other > value || (other == value && place < at)) *this = {other, place};
  }
};

// Over the threads of a block; every thread gets it. `scratch` is shared memory for kWarp of them.
template <class T>
__device__ Top<T> block_top(Top<T> top, Top<T>* scratch) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const T value = __shfl_xor_sync(kWholeWarp, top.value, offset);
    const Index at = __shfl_xor_sync(kWholeWarp, top.at, offset);
    if (value > 0) top.take(value, at);
  }
  __syncthreads();  // scratch is no longer read
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = top;
  __syncthreads();
  Top<T> all;
  for (int w = 0; w < block_warps(); ++w)
    if (scratch[w].value > 0) all.take(scratch[w].value, scratch[w].at);
  return all;
}

// The largest column sum of |a| of a matrix [size, size]; a thread adds up a column, neighbours read neighbours.
template <class T>
__device__ Top<T> top_column(const T* a, Index size, Top<T>* scratch) {
  Top<T> top;
  for (Index j = threadIdx.x; j < size; j += block_threads()) {
    T sum = 0;
#pragma unroll 4
    for (Index i = 0; i < size; ++i) sum += std::abs(a[i * size + j]);
    if (sum > 0) top.take(sum, j);
  }
  return block_top(top, scratch);
}

// The largest row sum; a warp adds up a row.
template <class T>
__device__ Top<T> top_row(const T* a, Index size, Top<T>* scratch) {
  Top<T> top;
  for (Index i = threadIdx.x / kWarp; i < size; i += block_warps()) {
    T sum = 0;
    for (Index j = threadIdx.x % kWarp; j < size; j += kWarp) sum += std::abs(a[i * size + j]);
    sum = warp_sum(sum);
    if (sum > 0) top.take(sum, i);
  }
  return block_top(top, scratch);
}

// The largest of `count` tops, as the number of the one that has it.
template <class T>
__device__ Top<T> top_of(const Top<T>* tops, Index count, Top<T>* scratch) {
  Top<T> top;
  for (Index i = threadIdx.x; i < count; i += block_threads())
    if (tops[i].value > 0) top.take(tops[i].value, i);
  return block_top(top, scratch);
}

// What c is made of. `columns` and `rows` hold those of every matrix where c depends on all of them; null with
// PinvStart::exact (rows: but for PinvStart::product).
template <class T>
struct PinvNorms {
  const Top<T>* columns;
  const Top<T>* rows;
  Index count;

  // 1 / c of the matrix; 0 where there is no c. All threads of the block call.
  __device__ T norm(const T* a, Index size, Top<T>* scratch) const {
    if (columns == nullptr) return top_column(a, size, scratch).value;
    const T column = top_of(columns, count, scratch).value;
    return rows == nullptr ? column : column * top_of(rows, count, scratch).value;
  }
  __device__ T coefficient(const T* a, Index size, Top<T>* scratch) const {
    const T n = norm(a, size, scratch);
    return n == 0 ? T(0) : 1 / n;
  }
};

// da += the gradient `amount` of the sum of |a| along a line. Every element by one thread of the block.
template <class T>
__device__ void add_to_line(Index first, Index step, Index size, T amount, const T* a, T* da) {
  for (Index i = threadIdx.x; i < size; i += block_threads()) {
    const T value = a[first + i * step];
    da[first + i * step] += value > 0 ? amount : value < 0 ? -amount : T(0);
  }
}

// The last stage of a matrix's gradient, Z_0 = c A^T: da += c dZ_0^T, and the part through c where the matrix has its
// own; elsewhere dc, for all matrices together. dz [size][pitch] lies in shared or global memory. All threads of the
// block call, after a barrier; no thread has written to da since.
template <class T>
__device__ void finish_gradient(const T* dz, Index pitch, const T* a, Index size, const PinvNorms<T>& norms,
                                bool through_coefficient, Top<T>* scratch, T* sums, T* da, T* dc) {
  const T c = norms.coefficient(a, size, scratch);
  T sum = 0;
  for (Index x = threadIdx.x; x < size * size; x += block_threads()) {
    const T dz_0 = dz[x % size * pitch + x / size];
    da[x] += c * dz_0;
    sum += dz_0 * a[x];
  }
  if (!through_coefficient) return;
  sum = block_sum(sum, sums);  // and a barrier
  if (norms.columns != nullptr) {
    if (threadIdx.x == 0) *dc = sum;
    return;
  }
  const Top<T> column = top_column(a, size, scratch);
  add_to_line(column.at, size, size, -c * c * sum, a, da);
}

}  // namespace subquad::kernels::cuda
