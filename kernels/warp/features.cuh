// Rows of features that eight neighbouring lanes hold together, for kernels in which every pair of rows is another one
// (gathered keys, shifted keys): a warp works on four pairs at a time, and a row of 32 float32 features is one load of
// 16 bytes per lane. All lanes of a warp call all functions.
#pragma once

#include <algorithm>

#include "subquad/core/tensor.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kRowLanes = 8;

// The sum over the eight lanes, in all of them.
template <class T>
__device__ T row_sum(T value) {
  for (int offset = kRowLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

// This lane's share of some neighbouring features of a row: packs l, l + 8, ... of N features. kWhole: no row has more
// features than that.
template <class T, int N, int kPacks, bool kWhole>
struct RowPart {
  static constexpr int kFeatures = kRowLanes * N * kPacks;  // of all eight lanes
  static constexpr bool kIsWhole = kWhole;

  Pack<T, N> packs[kPacks];

  // Features first ... first + kFeatures - 1 of a row that has `width`, zeros beyond and where it is not `there`.
  __device__ static RowPart load(const T* row, int first, int width, bool there = true) {
    RowPart part;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = first + offset(i);
      part.packs[i] = there && at < width ? load_pack<N>(row + at) : Pack<T, N>{};
    }
    return part;
  }
  __device__ void store(T* row, int first, int width) const {
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      if (const int at = first + offset(i); at < width) store_pack<N>(row + at, packs[i]);
  }

  __device__ void scale(T factor) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      for (int c = 0; c < N; ++c) packs[i].at[c] *= factor;
  }
  __device__ void add(T factor, const RowPart& other) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      for (int c = 0; c < N; ++c) packs[i].at[c] += factor * other.packs[i].at[c];
  }
  // The sum of the parts that the four groups of eight lanes hold, in all of them.
  __device__ void add_groups() {
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      for (int c = 0; c < N; ++c)
        for (int offset = kRowLanes; offset < kWarp; offset *= 2)
          packs[i].at[c] += __shfl_xor_sync(kWholeWarp, packs[i].at[c], offset);
  }
  // This lane's terms of the product.
  __device__ T dot(const RowPart& other) const {
    T sum = 0;
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      for (int c = 0; c < N; ++c) sum += packs[i].at[c] * other.packs[i].at[c];
    return sum;
  }

 private:
  __device__ static int offset(int pack) {
    return (pack * kRowLanes + static_cast<int>(threadIdx.x) % kRowLanes) * N;
  }
};

// The product of two rows of any width, of which the first kFeatures are at hand; the others are read, which
// must be `there`. The terms are added in the same order whichever row is a.
template <class T, class Part>
__device__ T row_dot(const Part& a_first, const Part& b_first, const T* a, const T* b, int width, bool there) {
  T sum = a_first.dot(b_first);
  for (int first = Part::kFeatures; !Part::kIsWhole && first < width; first += Part::kFeatures)
    sum += Part::load(a, first, width, there).dot(Part::load(b, first, width, there));
  return row_sum(sum);
}

// Features first ... of a row whose beginning is at hand.
template <class T, class Part>
__device__ Part row_part(const Part& beginning, const T* row, int first, int width, bool there) {
  if (Part::kIsWhole || first == 0) return beginning;
  return Part::load(row, first, width, there);
}

// May rows of these [B, H, N, E] be moved in packs of 16 bytes?
template <class T, class... Tensors>
bool heads_can_pack(const Tensors&... tensors) {
  const auto can = [](const Tensor& t) {
    const Index steps = t.dim(3) | t.strides()[0] | t.strides()[1] | t.strides()[2];
    return t.size() == 0 || can_pack<kPackWidth<T>>(t.data<T>(), steps);
  };
  return (can(tensors) && ...);
}

// Calls f(Type<RowPart>) with the part that holds rows of `width` best. Wider rows than that take several.
template <class T, class F>
void with_row_part(Index width, bool packs, const F& f) {
  if constexpr (std::is_same_v<T, float>) {
    if (packs && width <= RowPart<T, 4, 1, true>::kFeatures) return f(Type<RowPart<T, 4, 1, true>>{});
    if (packs && width <= RowPart<T, 4, 2, true>::kFeatures) return f(Type<RowPart<T, 4, 2, true>>{});
    if (packs) return f(Type<RowPart<T, 4, 4, false>>{});
  }
  f(Type<RowPart<T, 1, 4, false>>{});
}

}  // namespace subquad::kernels::cuda
