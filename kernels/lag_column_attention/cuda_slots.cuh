// What lag-column attention's kernels share. A block of 256 threads has 32 rows, eight lanes each
// (kernels/warp/features.cuh): queries that walk over what was chosen, or keys that walk over the queries that see
// them. Slots, which are lags or columns, come 64 at a time: the block writes down where each stands, its score, and
// which of the block's rows do not see it.
//
// Neighbouring queries see neighbouring keys along a lag: what a warp reads for its four rows is contiguous. A column's
// rows are the same for all queries; the first-level cache hands them out as shared memory would.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/core/precision.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/dropout/keep.cuh"
#include "subquad/kernels/lag_column_attention/lag_column_attention.h"
#include "subquad/kernels/matmul/to_bfloat16.h"
#include "subquad/kernels/warp/features.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kSlotThreads = 256;
inline constexpr int kSlotRows = kSlotThreads / kRowLanes;  // of a block
static_assert(kSlotRows == kTileRows, "one bit of a word each");
inline constexpr int kSlotWarps = kSlotThreads / kWarp;
inline constexpr int kSlotTile = 64;  // slots that are written down at a time

// Rows of what is multiplied are numbers of type R: T, or in bf16, for heads that a part holds whole, bfloat16, so that
// half the bytes come from the second-level cache. Sums are T whatever R is.

// A row as it was loaded (as by Part::load), and the part that it is.
template <class Part, class R>
struct HeldRow {
  Part held;

  __device__ static HeldRow load(const R* row, int first, int width, bool there) {
    return {Part::load(row, first, width, there)};
  }
  __device__ const Part& part() const { return held; }
};

template <class Part>
struct HeldRow<Part, BFloat16> {
  static constexpr int kPacks = sizeof(Part::packs) / sizeof(Part::packs[0]);
  static constexpr int kEach = Part::kFeatures / (kRowLanes * kPacks);

  Pack<std::uint16_t, kEach> held[kPacks];

  __device__ static HeldRow load(const BFloat16* row, int first, int width, bool there) {
    HeldRow loaded = {};
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = first + (i * kRowLanes + static_cast<int>(threadIdx.x) % kRowLanes) * kEach;
      if (there && at < width) loaded.held[i] = load_pack<kEach>(reinterpret_cast<const std::uint16_t*>(row) + at);
    }
    return loaded;
  }
  __device__ Part part() const {
    Part part;
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      for (int c = 0; c < kEach; ++c)
        part.packs[i].at[c] = std::bit_cast<float>(static_cast<std::uint32_t>(held[i].at[c]) << 16);
    return part;
  }
};

template <class Part, class R>
__device__ Part load_row(const R* row, int first, int width, bool there) {
  return HeldRow<Part, R>::load(row, first, width, there).part();
}

// row_dot and row_part; a row that a part holds whole is not read again.
template <class T, class Part, class A, class B>
__device__ T dot_rows_of(const Part& a_first, const Part& b_first, const A* a, const B* b, int width, bool there) {
  if constexpr (Part::kIsWhole)
    return row_sum(a_first.dot(b_first));
  else
    return row_dot(a_first, b_first, a, b, width, there);
}
template <class Part, class R>
__device__ Part part_of_row(const Part& beginning, const R* row, int first, int width, bool there) {
  if constexpr (Part::kIsWhole)
    return beginning;
  else
    return row_part(beginning, row, first, width, there);
}

// Calls f(Type<R>(), rows) with the tensors [B, H, N, E] as rows of R.
template <class T, class Part, class F>
void with_operand_rows(const std::vector<Tensor>& tensors, const F& f) {
  if constexpr (std::is_same_v<T, float> && Part::kIsWhole) {
    if (precision() == Precision::bf16) {
      std::vector<Tensor> rows = to_bfloat16(tensors);
      for (std::size_t i = 0; i < rows.size(); ++i)  // what repeats itself was rounded once
        rows[i] = with_unit_stride(rows[i]).expand(tensors[i].shape());
      return f(Type<BFloat16>{}, std::as_const(rows));
    }
  }
  f(Type<T>{}, tensors);
}

// Does the warp of this thread have one of the rows below n? It is the whole warp that has four, or none.
__device__ inline bool warp_has_rows(int first, int n) {
  return first + static_cast<int>(threadIdx.x) / kWarp * (kWarp / kRowLanes) < n;
}

enum class SlotKind { lag, column };

// a + b and a - b modulo n, for 0 <= a, b < n.
__device__ inline int wrapped_sum(int a, int b, int n) {
  return a < n - b ? a + b : a - (n - b);
}
__device__ inline int wrapped_difference(int a, int b, int n) {
  return a >= b ? a - b : a - b + n;
}

// What was chosen, for all heads.
template <class T>
struct ChosenSlots {
  const Index *lags, *columns;     // [B, H, Kl], [B, H, Kc]
  int lag_count, column_count;     // Kl, Kc
  const T *lag_score, *col_score;  // [B, H, N], or null
  Index heads, positions;          // H, N
  Lengths lengths;

  ChosenSlots(const LagColumns& chosen, const LagColumnScores& scores, const Mask& mask, Index all_positions)
      : lags(chosen.lags.data<Index>()),
        columns(chosen.columns.data<Index>()),
        lag_count(static_cast<int>(chosen.lags.dim(2))),
        column_count(static_cast<int>(chosen.columns.dim(2))),
        lag_score(scores.lag.defined() ? scores.lag.data<T>() : nullptr),
        col_score(scores.col.defined() ? scores.col.data<T>() : nullptr),
        heads(chosen.lags.dim(1)),
        positions(all_positions),
        lengths(mask, all_positions) {}

  __device__ int count(SlotKind kind) const { return kind == SlotKind::lag ? lag_count : column_count; }
  // Where a slot of a head (of all B H) stands, -1 where it stands nowhere below n.
  __device__ int place(SlotKind kind, Index head, int slot, int n) const {
    const Index x = kind == SlotKind::lag ? lags[head * lag_count + slot] : columns[head * column_count + slot];
    return x >= 0 && x < n ? static_cast<int>(x) : -1;
  }
  __device__ T score(SlotKind kind, Index head, int place) const {
    const T* const scores = kind == SlotKind::lag ? lag_score : col_score;
    return scores == nullptr ? T(0) : scores[head * positions + place];
  }
};

// 64 slots in shared memory.
template <class T>
struct SlotTile {
  T* scores;
  int* places;       // -1: nobody sees the slot
  unsigned* hidden;  // bit r: query first + r does not see it, since a lag gives it the same key

  __device__ explicit SlotTile(SharedMemory& shared)
      : scores(shared.take<T>(kSlotTile)),
        places(shared.take<int>(kSlotTile)),
        hidden(shared.take<unsigned>(kSlotTile)) {}
  static constexpr std::size_t bytes() {
    return shared_size<T>(kSlotTile) + shared_size<int>(kSlotTile) + shared_size<unsigned>(kSlotTile);
  }

  // Does anybody see one of these slots?
  template <int kCount>
  __device__ bool any(int slot) const {
    bool any = false;
    for (int u = 0; u < kCount; ++u) any = any || places[slot + u] >= 0;
    return any;
  }

  // Writes down the slots from `from` on for a block whose queries start at `first`. All threads of the block call;
  // nobody reads the tile before any more.
  __device__ void load(const ChosenSlots<T>& all, SlotKind kind, Index head, int n, int from, int first) const {
    const int thread = static_cast<int>(threadIdx.x);
    __syncthreads();
    if (thread < kSlotTile) {
      const int slot = from + thread, place = slot < all.count(kind) ? all.place(kind, head, slot, n) : -1;
      places[thread] = place;
      scores[thread] = place < 0 ? T(0) : all.score(kind, head, place);
      hidden[thread] = 0;
    }
    __syncthreads();
    if (kind == SlotKind::lag) return;
    for (int pair = thread; pair < kSlotTile * all.lag_count; pair += kSlotThreads) {
      const int slot = pair % kSlotTile, lag = all.place(SlotKind::lag, head, pair / kSlotTile, n);
      if (lag < 0 || places[slot] < 0) continue;
      const int row = wrapped_difference(places[slot], lag, n) - first;  // the query that has this key by the lag
      if (row >= 0 && row < kSlotRows) atomicOr(hidden + slot, 1u << row);
    }
    __syncthreads();
  }
};

// Slots that eight lanes work on at a time, so that several loads are under way.
template <class Part>
inline constexpr int kSlotsAtOnce = Part::kIsWhole ? 4 : 2;

struct SlotDropout {
  bool active = false;
  KeepKey key = {};
  Index heads;

  SlotDropout(const LagColumnOptions& options, Index all_heads) : active(options.dropout > 0), heads(all_heads) {
    if (active) key = keep_key(options.dropout, options.random);
  }

  // What the probability of query i of head h of sample b at a slot is multiplied by.
  template <class T>
  __device__ T factor(Index b, Index h, SlotKind kind, int place, int i) const {
    const Index bits = 2 * Index{place} + (kind == SlotKind::lag ? 0 : 1);
    const PhiloxCounter words = keep_words(key, b, bits * heads + h, i / 4);
    const std::uint32_t word = i % 4 < 2 ? (i % 4 == 0 ? words[0] : words[1]) : (i % 4 == 2 ? words[2] : words[3]);
    return word > key.highest_dropped ? static_cast<T>(key.scale) : T(0);
  }

  // Those of the slots that eight lanes work on: lane l draws for the slot places[l] and the query queries[l], if there
  // are so many. All lanes of the warp call.
  template <class T, int kCount>
  __device__ void factors(Index b, Index h, SlotKind kind, const int (&places)[kCount], const int (&queries)[kCount],
                          T (&drawn)[kCount]) const {
    static_assert(kCount <= kRowLanes);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    int place = places[0], i = queries[0];
    for (int u = 1; u < kCount; ++u) {
      if (lane % kRowLanes != u) continue;
      place = places[u];
      i = queries[u];
    }
    const T mine = factor<T>(b, h, kind, place, i);
    for (int u = 0; u < kCount; ++u) drawn[u] = __shfl_sync(kWholeWarp, mine, lane / kRowLanes * kRowLanes + u);
  }
};

// Which rows a block has, or which of something else: blocks of a head side by side, chunks of features innermost.
struct SlotWork {
  Index head, b, h;  // head = b H + h
  int tile, chunk;

  __device__ SlotWork(Index block, Index heads, int tiles_per_head, int chunks) {
    head = block / chunks / tiles_per_head;
    b = head / heads;
    h = head % heads;
    tile = static_cast<int>(block / chunks % tiles_per_head);
    chunk = static_cast<int>(block % chunks);
  }
};

}  // namespace subquad::kernels::cuda
