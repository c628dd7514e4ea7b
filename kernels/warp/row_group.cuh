// Groups of eight lanes, four to a warp, which walk over rows of memory: neighbouring lanes have neighbouring packs of
// N elements, so that a row of 32 floats is one line of cache and a warp reads four of them at a time. A group takes
// four rows at once; lane l then keeps the books of row l % 4: its logit, its weight.
#pragma once

#include <limits>
#include <type_traits>

#include "subquad/core/tensor.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kGroupLanes = 8, kWarpGroups = kWarp / kGroupLanes;
inline constexpr int kGroupRows = 4;  // that a group takes at once

struct GroupLane {
  int lane = static_cast<int>(threadIdx.x) % kGroupLanes;
  int base = static_cast<int>(threadIdx.x) % kWarp / kGroupLanes * kGroupLanes;  // the group's first lane in its warp
  int row = static_cast<int>(threadIdx.x) % kGroupRows;                          // whose books it keeps
};

// Op over the four groups of a warp, lane by lane: all get the result.
template <class Op, class T>
__device__ T across_groups(T value) {
  value = Op::of(value, __shfl_xor_sync(kWholeWarp, value, kGroupLanes));
  return Op::of(value, __shfl_xor_sync(kWholeWarp, value, 2 * kGroupLanes));
}

// Op over the books of the four rows: all lanes of the group get the result.
template <class Op, class T>
__device__ T across_rows(T value) {
  value = Op::of(value, __shfl_xor_sync(kWholeWarp, value, 1));
  return Op::of(value, __shfl_xor_sync(kWholeWarp, value, 2));
}

// parts[x] summed over the lanes of the group, for the lane's own row x. Whole warps call.
template <class T>
__device__ T sum_of_row(const T (&parts)[kGroupRows]) {
  const int lane = GroupLane().lane;
  const bool odd = lane % 2 != 0, upper = lane / 2 % 2 != 0;
  const T low = (odd ? parts[1] : parts[0]) + __shfl_xor_sync(kWholeWarp, odd ? parts[0] : parts[1], 1);
  const T high = (odd ? parts[3] : parts[2]) + __shfl_xor_sync(kWholeWarp, odd ? parts[2] : parts[3], 1);
  const T sum = (upper ? high : low) + __shfl_xor_sync(kWholeWarp, upper ? low : high, 2);
  return sum + __shfl_xor_sync(kWholeWarp, sum, 4);
}

// own . rows[x] for the lane's own row x, always summed in the same order; 0 for a null row. Whole warps call.
template <int N, class T>
__device__ T dot_rows(const T* own, const T* const (&rows)[kGroupRows], int width) {
  T parts[kGroupRows] = {};
  for (int c = GroupLane().lane * N; c < width; c += kGroupLanes * N) {
    const Pack<T, N> left = load_pack<N>(own + c);
#pragma unroll
    for (int x = 0; x < kGroupRows; ++x) {
      if (rows[x] == nullptr) continue;
      const Pack<T, N> right = load_pack<N>(rows[x] + c);
#pragma unroll
      for (int i = 0; i < N; ++i) parts[x] += left.at[i] * right.at[i];
    }
  }
  return sum_of_row(parts);
}

// kGroupColumns columns of a row, from `column` on: what a group adds up at a time.
inline constexpr int kGroupColumns = 64;

template <int N, class T>
class GroupSums {
 public:
  // sums += sum_x weight[x] rows[x], with the weights that the lanes of rows x hold; a null row has weight 0. Whole
  // warps call.
  __device__ void add(T weight, const T* const (&rows)[kGroupRows], int column, int width) {
    const GroupLane group;
#pragma unroll
    for (int x = 0; x < kGroupRows; ++x) {
      const T w = __shfl_sync(kWholeWarp, weight, group.base + x);
      if (rows[x] == nullptr) continue;
      each(column, width, [&](int slot, int c) {
        const Pack<T, N> row = load_pack<N>(rows[x] + c);
#pragma unroll
        for (int i = 0; i < N; ++i) packs_[slot].at[i] += w * row.at[i];
      });
    }
  }

  __device__ void scale(T factor) {
    for (auto& pack : packs_)
      for (T& value : pack.at) value *= factor;
  }

  // Over the four groups of a warp: all get the result.
  __device__ void add_groups() {
    for (auto& pack : packs_)
      for (T& value : pack.at) value = across_groups<Sum>(value);
  }

  // row[column ...] = factor * sums
  __device__ void store(T* row, T factor, int column, int width) const {
    each(column, width, [&](int slot, int c) {
      Pack<T, N> pack = packs_[slot];
      for (T& value : pack.at) value *= factor;
      store_pack<N>(row + c, pack);
    });
  }

  // sums += row[column ...]
  __device__ void add_row(const T* row, int column, int width) {
    each(column, width, [&](int slot, int c) {
      const Pack<T, N> pack = load_pack<N>(row + c);
      for (int i = 0; i < N; ++i) packs_[slot].at[i] += pack.at[i];
    });
  }

  // For the first group of a warp, by way of shared memory.
  __device__ void put(T* place) const {
    each(0, kGroupColumns, [&](int slot, int c) { store_pack<N>(place + c, packs_[slot]); });
  }
  __device__ void take(const T* place, T factor) {
    each(0, kGroupColumns, [&](int slot, int c) {
      const Pack<T, N> pack = load_pack<N>(place + c);
      for (int i = 0; i < N; ++i) packs_[slot].at[i] += factor * pack.at[i];
    });
  }

 private:
  static constexpr int kSlots = kGroupColumns / (kGroupLanes * N);

  template <class F>
  static __device__ void each(int column, int width, const F& f) {
    const int lane = GroupLane().lane;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const int c = column + (slot * kGroupLanes + lane) * N;
      if (c < width) f(slot, c);
    }
  }

  Pack<T, N> packs_[kSlots] = {};
};

// Calls f(std::integral_constant<int, N>()) with the widest pack in which the rows of all these tensors, whose last
// stride is 1, can be moved: 16 bytes, or one element. float64 always moves one at a time; undefined tensors do not
// mind.
template <class T, class F, class... Tensors>
void with_row_pack(const F& f, const Tensors&... tensors) {
  const auto packs = [](const Tensor& t) {
    if (!t.defined() || t.size() == 0) return true;
    bool fits = can_pack<4>(t.data<T>(), t.dim(-1));
    for (int d = 0; d + 1 < t.rank(); ++d) fits = fits && (t.dim(d) == 1 || t.strides()[d] % 4 == 0);
    return fits;
  };
  if constexpr (std::is_same_v<T, float>)
    if ((packs(tensors) && ...)) return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 1>());
}

}  // namespace subquad::kernels::cuda
