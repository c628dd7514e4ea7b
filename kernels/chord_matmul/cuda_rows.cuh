// How kernels share rows of values: the packs of N columns of a row lie with `across` neighbouring lanes, a power of
// two, so that a warp has 32 / across rows at a time.
#pragma once

#include "subquad/kernels/chord_matmul/cuda_links.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kGroup = 16;  // links whose weights a thread asks for at a time

// Which weights belong to row i: its own, or, where the factor is transposed, those of the rows that link to it.
enum class WeightRows { own, mirrored };

// A lane's place among the rows of its warp.
struct RowLanes {
  int across_log, rows, row, pack;

  __device__ explicit RowLanes(int log)
      : across_log(log),
        rows(kWarp >> log),
        row(static_cast<int>(threadIdx.x) % kWarp >> log),
        pack(static_cast<int>(threadIdx.x) & ((1 << log) - 1)) {}
};

// log2 of how many lanes share a row of `packs` packs.
inline int across_log_of(Index packs) {
  int log = 0;
  while (log < 5 && (Index{1} << log) < packs) ++log;
  return log;
}

// Threads of a block: not more than its rows have lanes.
inline int threads_for(Index rows, int across_log, int most) {
  const Index lanes = std::min<Index>(rows, kWarp * most) << across_log;
  return static_cast<int>(std::clamp<Index>((lanes + kWarp - 1) / kWarp * kWarp, kWarp, most));
}

template <int N, class T>
__device__ Pack<T, N> added(const Pack<T, N>& a, const Pack<T, N>& b) {
  Pack<T, N> sum;
#pragma unroll
  for (int i = 0; i < N; ++i) sum.at[i] = a.at[i] + b.at[i];
  return sum;
}

template <int N, class T>
__device__ void add_weighted(Pack<T, N>& sum, T weight, const Pack<T, N>& more) {
#pragma unroll
  for (int i = 0; i < N; ++i) sum.at[i] += weight * more.at[i];
}

// Calls f(Type<T>, std::integral_constant<int, N>) with the pack in which rows of `width` columns of all these tensors
// may be moved: float32 in 16 bytes where they can, else element by element.
template <class F, class... Tensors>
void visit_packs(const char* op, Index width, const F& f, const Tensor& first, const Tensors&... more) {
  visit_float(op, first.dtype(), [&]<class T>(Type<T> type) {
    const auto packs = [&](const Tensor& t) { return !t.defined() || can_pack<4>(t.template data<T>(), width); };
    if constexpr (std::is_same_v<T, float>)
      if (packs(first) && (packs(more) && ...)) return f(type, std::integral_constant<int, 4>());
    f(type, std::integral_constant<int, 1>());
  });
}

}  // namespace subquad::kernels::cuda
