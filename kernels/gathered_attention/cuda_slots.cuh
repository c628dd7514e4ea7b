// What gathered attention's kernels share. A block of 256 threads has 32 queries, eight lanes each
// (kernels/warp/features.cuh); a query's slots come eight at a time, one per lane, so that index and bias are read in
// whole pieces, and are then worked on some at once, so that the rows of several keys are under way.
#pragma once

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/gathered_attention/gathered_attention.h"
#include "subquad/kernels/warp/features.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kGatherThreads = 256;
inline constexpr int kGatherRows = kGatherThreads / kRowLanes;  // queries of a block

// Slots that eight lanes work on at a time. (Kernels ask for one block at least: ptxas would else spill to fit more.)
template <class Part>
inline constexpr int kGatheredAtOnce = sizeof(Part) <= 16 ? 4 : 2;

// Which slots are live, for all heads.
template <class T>
struct GatheredSlots {
  const Index* index;  // [B, H, Nq, K]
  const T* bias;       // likewise, or null
  const bool* real;    // [B, Nk], or null: every key is real
  int queries, keys, count;
  bool skip;  // padded queries see nothing

  GatheredSlots(const Tensor& all, const Tensor& added, const Mask& mask, Index key_count,
                const GatheredAttentionOptions& options)
      : index(all.data<Index>()),
        bias(added.defined() ? added.data<T>() : nullptr),
        real(mask.defined() ? mask.real.data<bool>() : nullptr),
        queries(static_cast<int>(all.dim(2))),
        keys(static_cast<int>(key_count)),
        count(static_cast<int>(all.dim(3))),
        skip(real != nullptr && options.skip_padded_queries && queries == keys) {}

  __device__ bool query_counts(Index b, int i) const { return i < queries && (!skip || real[b * keys + i]); }
  // Of query i of head b H + h, which counts: where its slot t stands in index, bias and dbias; and the slot's key, -1
  // where it is not live. A key that does not exist makes a slot no live one.
  __device__ Index at(Index head, int i, int t) const { return (head * queries + i) * count + t; }
  __device__ int key(Index b, Index place) const {
    const Index j = index[place];
    return j >= 0 && j < keys && (real == nullptr || real[b * keys + j]) ? static_cast<int>(j) : -1;
  }
  __device__ T added(Index place) const { return bias == nullptr ? T(0) : bias[place]; }
};

// Which rows a block has: blocks of a head side by side, chunks of features innermost.
struct GatherWork {
  Index head, b, h;  // head = b H + h
  int tile, chunk;

  __device__ GatherWork(Index heads, int tiles_per_head, int chunks) {
    const Index block = blockIdx.x;
    head = block / chunks / tiles_per_head;
    b = head / heads;
    h = head % heads;
    tile = static_cast<int>(block / chunks % tiles_per_head);
    chunk = static_cast<int>(block % chunks);
  }
};

// x of lane `lane` of this thread's eight.
template <class T>
__device__ T of_row_lane(T x, int lane) {
  return __shfl_sync(kWholeWarp, x, static_cast<int>(threadIdx.x) % kWarp / kRowLanes * kRowLanes + lane);
}

}  // namespace subquad::kernels::cuda
