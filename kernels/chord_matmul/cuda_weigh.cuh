// How warps multiply rows of values by a factor. A row's packs of N columns lie with `across` neighbouring lanes, a
// power of two, so a warp has 32 / across rows at a time. Their weights are first brought together in shared memory,
// up to kGroup links of all these rows by neighbouring lanes: each lane would otherwise ask for numbers that lie a row
// of weights apart.
#pragma once

#include "subquad/kernels/chord_matmul/cuda_links.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kGroup = 16, kGroupPitch = kGroup + 1;  // odd: rows start in different banks
inline constexpr int kTileWeights = kWarp * kGroupPitch;     // of a warp

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

// One factor of one sample.
template <class T>
struct FactorWeights {
  const T* of;
  Index row, link;  // distances
  SampleLinks links;
  int first, count;  // of the links
};

// Which weights belong to row i: its own, or, where the factor is transposed, those of the rows that link to it.
enum class WeightRows { own, mirrored };

// The warp's tile [rows][kGroupPitch] becomes the weights of links [group, group + kGroup) of rows from `first` on. The
// whole warp calls.
template <WeightRows kOf, class T>
__device__ void stage_weights(const FactorWeights<T>& factor, int group, int first, const RowLanes& lanes, T* tile) {
  const bool down = factor.row < factor.link;  // neighbouring lanes take what lies beside each other in memory
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  __syncwarp();
#pragma unroll 4
  for (int e = lane; e < lanes.rows * kGroup; e += kWarp) {
    const int r = down ? e & (lanes.rows - 1) : e / kGroup, k = down ? e >> (5 - lanes.across_log) : e % kGroup;
    const int row = first + r, link = group + k;
    if (link >= factor.count || row >= factor.links.n) continue;
    const int column = factor.links.column(row, link);
    const int from = kOf == WeightRows::own ? row : column;
    tile[r * kGroupPitch + k] = column < 0 ? T(0) : factor.of[from * factor.row + (factor.first + link) * factor.link];
  }
  __syncwarp();
}

// finish(row, column, start(row, column) + weights times rows of `from`) for the rows [begin, end) and all packs of
// `width` columns; beyond the sample's n rows finish gets 0. Each element is one chain of multiply-adds in the order of
// the links. All threads of the block call.
template <int N, WeightRows kOf, class T, class Pitch, class Start, class Finish>
__device__ void multiply_rows(const FactorWeights<T>& factor, T* tile, const T* from, Pitch pitch, int begin, int end,
                              Index width, int across_log, const Start& start, const Finish& finish) {
  const RowLanes lanes(across_log);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  const int n = factor.links.n;
  for (int first = begin + warp * lanes.rows; first < end; first += warps * lanes.rows) {
    const int row = first + lanes.row;
    for (Index c = 0; c < width; c += N << across_log) {
      const Index column = c + lanes.pack * N;
      const bool mine = row < end && column < width;
      Pack<T, N> sum = {};
      if (mine && row < n) sum = start(row, column);
      if (first < n)
        for (int group = 0; group < factor.count; group += kGroup) {
          stage_weights<kOf>(factor, group, first, lanes, tile);
          if (!mine || row >= n) continue;
          const int count = factor.count - group < kGroup ? factor.count - group : kGroup;
#pragma unroll 4
          for (int k = 0; k < count; ++k) {
            const int linked = factor.links.column(row, group + k);
            if (linked < 0) continue;
            const T weight = tile[lanes.row * kGroupPitch + k];
            const Pack<T, N> more = load_pack<N>(from + linked * pitch + static_cast<Pitch>(column));
#pragma unroll
            for (int i = 0; i < N; ++i) sum.at[i] += weight * more.at[i];
          }
        }
      if (mine) finish(row, column, sum);
    }
  }
}

template <int N, class T>
__device__ Pack<T, N> added(const Pack<T, N>& a, const Pack<T, N>& b) {
  Pack<T, N> sum;
#pragma unroll
  for (int i = 0; i < N; ++i) sum.at[i] = a.at[i] + b.at[i];
  return sum;
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
