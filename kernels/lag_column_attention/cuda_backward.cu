#include "subquad/kernels/attention/cuda_query.cuh"
#include "subquad/kernels/lag_column_attention/cuda.h"
#include "subquad/kernels/lag_column_attention/cuda_slots.cuh"

// Three launches; p and ds are made anew by each owner, the logits by the same steps as forward's:
//
//   queries own dq and delta, and leave the sums of ds per slot for every 32 of them
//   keys own what lags give to dk and dv; columns what their queries give to dk and dv, 256 queries at a time
//   at last what was left behind is added in order
namespace subquad::kernels::cuda {
namespace {

constexpr int kColumnRange = 256;  // queries of a block that owns columns
constexpr int kColumnWords = kColumnRange / kTileRows;

template <class T, class R>
struct LagColumnBackward {
  View<const R, 4> dout, q, k, v;
  View<const T, 4> out;
  View<const T, 3> lse, lse_rest, dlse;  // dlse: data may be null
  ChosenSlots<T> chosen;
  SlotDropout dropout;
  T scale;
  View<T, 4> dq, dk, dv;
  T* delta;                    // [B, H, N]
  T* slot_sums;                // [B, H, tiles of 32 queries, Kl + Kc]: of ds
  T* column_sums;              // [B, H, ranges of 256 queries, Kc, E + Ev]: of dk (not scaled) and dv
  T *dlag_score, *dcol_score;  // [B, H, N]

  __device__ int positions() const { return static_cast<int>(q.dim(2)); }
  __device__ int width() const { return static_cast<int>(q.dim(3)); }
  __device__ int value_width() const { return static_cast<int>(v.dim(3)); }
  __device__ int slots() const { return chosen.lag_count + chosen.column_count; }
  __device__ int row_tiles() const { return tiles(positions(), kSlotRows); }
  __device__ int ranges() const { return tiles(positions(), kColumnRange); }
};

template <class T, class R>
__device__ QueryNumbers<T> query_numbers(const LagColumnBackward<T, R>& args, const SlotWork& work, int i, bool there) {
  if (!there) return {};
  return {args.lse(work.b, work.h, i), args.lse_rest(work.b, work.h, i), args.delta[work.head * args.q.dim(2) + i]};
}

// Rows of bfloat16 take registers twice, as they come and as float32: two blocks of a multiprocessor, and fewer slots
// at once where parts are long, keep ptxas from spilling to fit a third. (0: as ptxas likes.)
template <class R>
inline constexpr int kQueryBlocks = std::is_same_v<R, BFloat16> ? 2 : 0;
template <class Part, class R>
inline constexpr int kQuerySlots = std::is_same_v<R, BFloat16> && sizeof(Part) > 16 ? 2 : kSlotsAtOnce<Part>;

// A block per 32 queries (and per chunk of features of dq, where they are many), which walk over lags and columns as in
// forward. Memory: q, dout, out and dq once, and one row of k and v per query and lag from the second-level cache.
template <class T, class R, class Part>
__global__ void __launch_bounds__(kSlotThreads, kQueryBlocks<R>) lag_column_grad_queries(LagColumnBackward<T, R> args) {
  constexpr int kAtOnce = kQuerySlots<Part, R>;
  SharedMemory shared;
  const SlotTile<T> tile(shared);
  T* const sums = shared.take<T>(kSlotWarps * kSlotTile);  // of ds over the four queries of each warp
  const int positions = args.positions(), width = args.width(), value_width = args.value_width();
  const SlotWork work(blockIdx.x, args.q.dim(1), args.row_tiles(), tiles(width, Part::kFeatures));
  const int n = static_cast<int>(args.chosen.lengths[work.b]), first = work.tile * kSlotRows;
  const int thread = static_cast<int>(threadIdx.x), row = thread / kRowLanes, i = first + row;
  const int column = work.chunk * Part::kFeatures;
  const bool sees = i < n;
  const HeadRows<const R> k(args.k, work.b, work.h), v(args.v, work.b, work.h);
  const R* const q = HeadRows<const R>(args.q, work.b, work.h).row(i);
  const R* const dout = HeadRows<const R>(args.dout, work.b, work.h).row(i);
  const T* const out = HeadRows<const T>(args.out, work.b, work.h).row(i);
  const Part q_part = load_row<Part>(q, 0, width, sees), dout_part = load_row<Part>(dout, 0, value_width, sees);
  const T product = dot_rows_of<T>(dout_part, load_row<Part>(out, 0, value_width, sees), dout, out, value_width, sees);
  QueryNumbers<T> numbers = {};
  if (sees) {
    const T dlse = args.dlse.data() == nullptr ? T(0) : args.dlse(work.b, work.h, i);
    numbers = {args.lse(work.b, work.h, i), args.lse_rest(work.b, work.h, i), product - dlse};
    if (work.chunk == 0 && thread % kRowLanes == 0) args.delta[work.head * positions + i] = numbers.delta;
  }

  Part dq = {};
  for (int is_column = 0; is_column < 2; ++is_column) {
    const SlotKind kind = is_column ? SlotKind::column : SlotKind::lag;
    const int count = args.chosen.count(kind);
    for (int from = 0; first < n && from < count; from += kSlotTile) {
      tile.load(args.chosen, kind, work.head, n, from, first);
#pragma unroll 1
      for (int slot = 0; warp_has_rows(first, n) && slot < kSlotTile; slot += kAtOnce) {
        if (!tile.template any<kAtOnce>(slot)) continue;
        int keys[kAtOnce], places[kAtOnce], queries[kAtOnce];
        bool seen[kAtOnce];
        HeldRow<Part, R> keys_held[kAtOnce], values_held[kAtOnce];
        T factors[kAtOnce];
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u) {
          places[u] = tile.places[slot + u];
          queries[u] = i;
          factors[u] = 1;
          seen[u] = sees && places[u] >= 0 && (tile.hidden[slot + u] >> row & 1) == 0;
          keys[u] = !seen[u] ? 0 : kind == SlotKind::lag ? wrapped_sum(i, places[u], n) : places[u];
          keys_held[u] = HeldRow<Part, R>::load(k.row(keys[u]), 0, width, seen[u]);
          values_held[u] = HeldRow<Part, R>::load(v.row(keys[u]), 0, value_width, seen[u]);
        }
        if (args.dropout.active) args.dropout.factors(work.b, work.h, kind, places, queries, factors);
#pragma unroll
        for (int u = 0; u < kAtOnce; ++u) {
          const Part keys_part = keys_held[u].part(), values_part = values_held[u].part();
          const T logit = args.scale * dot_rows_of<T>(q_part, keys_part, q, k.row(keys[u]), width, seen[u]);
          const T dp = dot_rows_of<T>(dout_part, values_part, dout, v.row(keys[u]), value_width, seen[u]);
          const T p = seen[u] ? numbers.probability(logit + tile.scores[slot + u]) : T(0);
          const T ds = seen[u] ? p * (factors[u] * dp - numbers.delta) : T(0);
          dq.add(ds, part_of_row(keys_part, k.row(keys[u]), column, width, seen[u]));
          T sum = ds;  // of four queries, whose lanes are eight apart
          for (int offset = kRowLanes; offset < kWarp; offset *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, offset);
          if (thread % kWarp == 0) sums[thread / kWarp * kSlotTile + slot + u] = sum;
        }
      }
      __syncthreads();
      if (work.chunk == 0 && thread < kSlotTile && tile.places[thread] >= 0) {
        T sum = 0;
        for (int warp = 0; warp < kSlotWarps && first + warp * (kWarp / kRowLanes) < n; ++warp)
          sum += sums[warp * kSlotTile + thread];
        const int slot = from + thread + (kind == SlotKind::lag ? 0 : args.chosen.lag_count);
        args.slot_sums[(work.head * args.row_tiles() + work.tile) * args.slots() + slot] = sum;
      }
    }
  }

  if (i >= positions) return;
  dq.scale(args.scale);
  dq.store(HeadRows<T>(args.dq, work.b, work.h).row(i), column, width);
}

// What an owner of a key (lag: of position j; column) adds up.
template <class T, class R, class Part>
struct KeyGradient {
  const R *k, *v;
  Part k_part, v_part, dk = {}, dv = {};
  T scale;

  __device__ KeyGradient(const LagColumnBackward<T, R>& args, const SlotWork& work, int j, bool there)
      : k(HeadRows<const R>(args.k, work.b, work.h).row(j)),
        v(HeadRows<const R>(args.v, work.b, work.h).row(j)),
        k_part(load_row<Part>(k, 0, args.width(), there)),
        v_part(load_row<Part>(v, 0, args.value_width(), there)),
        scale(args.scale) {}

  // Query i, of which the first features are at hand; `column` is where the owner's features begin.
  __device__ void add(const LagColumnBackward<T, R>& args, const R* q, const R* dout, const Part& q_part,
                      const Part& dout_part, int column, const QueryNumbers<T>& numbers, T score, T factor, bool seen) {
    const int width = args.width(), value_width = args.value_width();
    const T logit = scale * dot_rows_of<T>(k_part, q_part, k, q, width, seen) + score;
    const T dp = dot_rows_of<T>(v_part, dout_part, v, dout, value_width, seen);
    const T p = seen ? numbers.probability(logit) : T(0);
    const T ds = seen ? p * (factor * dp - numbers.delta) : T(0);
    dk.add(ds, part_of_row(q_part, q, column, width, seen));
    dv.add(factor * p, part_of_row(dout_part, dout, column, value_width, seen));
  }
};

// A block of 32 keys (and of a chunk of features), which walk over lags: key j is seen by query (j - lag) mod n, so
// that what is read of queries lies side by side. Overwrites dk and dv of all rows. Memory: k, v, dk, dv once, and one
// row of q and dout per key and lag from the second-level cache.
template <class T, class R, class Part>
__device__ void lag_column_grad_keys(const LagColumnBackward<T, R>& args, Index block, const SlotTile<T>& tile) {
  constexpr int kAtOnce = kSlotsAtOnce<Part>;
  const int positions = args.positions(), width = args.width(), value_width = args.value_width();
  const SlotWork work(block, args.q.dim(1), args.row_tiles(), tiles(std::max(width, value_width), Part::kFeatures));
  const int n = static_cast<int>(args.chosen.lengths[work.b]), first = work.tile * kSlotRows;
  const int j = first + static_cast<int>(threadIdx.x) / kRowLanes, column = work.chunk * Part::kFeatures;
  const bool there = j < n;
  const HeadRows<const R> q(args.q, work.b, work.h), dout(args.dout, work.b, work.h);
  KeyGradient<T, R, Part> key(args, work, j, there);

  const int count = args.chosen.lag_count;
  for (int from = 0; first < n && from < count; from += kSlotTile) {
    tile.load(args.chosen, SlotKind::lag, work.head, n, from, first);
#pragma unroll 1
    for (int slot = 0; warp_has_rows(first, n) && slot < kSlotTile; slot += kAtOnce) {
      if (!tile.template any<kAtOnce>(slot)) continue;
      int places[kAtOnce], queries[kAtOnce];
      bool seen[kAtOnce];
      Part q_part[kAtOnce], dout_part[kAtOnce];
      T factors[kAtOnce];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        places[u] = tile.places[slot + u];
        factors[u] = 1;
        seen[u] = there && places[u] >= 0;
        queries[u] = seen[u] ? wrapped_difference(j, places[u], n) : 0;
        q_part[u] = load_row<Part>(q.row(queries[u]), 0, width, seen[u]);
        dout_part[u] = load_row<Part>(dout.row(queries[u]), 0, value_width, seen[u]);
      }
      if (args.dropout.active) args.dropout.factors(work.b, work.h, SlotKind::lag, places, queries, factors);
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u)
        key.add(args, q.row(queries[u]), dout.row(queries[u]), q_part[u], dout_part[u], column,
                query_numbers(args, work, queries[u], seen[u]), tile.scores[slot + u], factors[u], seen[u]);
    }
  }

  if (j >= positions) return;
  key.dk.scale(args.scale);
  key.dk.store(HeadRows<T>(args.dk, work.b, work.h).row(j), column, width);
  key.dv.store(HeadRows<T>(args.dv, work.b, work.h).row(j), column, value_width);
}

// A block of 32 columns and 256 queries (and of a chunk of features): eight lanes own a column, and all walk over the
// same queries, whose rows they find in the first-level cache. Memory: q and dout once per 32 columns, and the sums.
template <class T, class R, class Part>
__device__ void lag_column_grad_columns(const LagColumnBackward<T, R>& args, Index block, unsigned* hidden) {
  constexpr int kAtOnce = kSlotsAtOnce<Part>;
  const int width = args.width(), value_width = args.value_width(), count = args.chosen.column_count;
  const int column_tiles = tiles(count, kSlotRows);
  const SlotWork work(block, args.q.dim(1), args.ranges() * column_tiles,
                      tiles(std::max(width, value_width), Part::kFeatures));
  const int range = work.tile / column_tiles, thread = static_cast<int>(threadIdx.x), row = thread / kRowLanes;
  const int n = static_cast<int>(args.chosen.lengths[work.b]), slot = work.tile % column_tiles * kSlotRows + row;
  const int begin = range * kColumnRange, end = begin + kColumnRange < n ? begin + kColumnRange : n;
  const int column = work.chunk * Part::kFeatures;
  if (begin >= n) return;  // the whole block; these sums are not read

  hidden[thread] = 0;
  __syncthreads();
  const auto place_of = [&](int s) { return s < count ? args.chosen.place(SlotKind::column, work.head, s, n) : -1; };
  for (int pair = thread; pair < kSlotRows * args.chosen.lag_count; pair += kSlotThreads) {
    const int place = place_of(slot - row + pair % kSlotRows);
    const int lag = args.chosen.place(SlotKind::lag, work.head, pair / kSlotRows, n);
    if (lag < 0 || place < 0) continue;
    const int at = wrapped_difference(place, lag, n) - begin;  // the query that has this key by the lag
    if (at >= 0 && at < kColumnRange)
      atomicOr(hidden + pair % kSlotRows * kColumnWords + at / kTileRows, 1u << at % kTileRows);
  }
  __syncthreads();

  const int place = place_of(slot);
  const T score = place < 0 ? T(0) : args.chosen.score(SlotKind::column, work.head, place);
  const HeadRows<const R> q(args.q, work.b, work.h), dout(args.dout, work.b, work.h);
  KeyGradient<T, R, Part> key(args, work, place < 0 ? 0 : place, place >= 0);
#pragma unroll 1
  for (int i = begin; i < end; i += kAtOnce) {
    bool seen[kAtOnce];
    int places[kAtOnce], queries[kAtOnce];
    Part q_part[kAtOnce], dout_part[kAtOnce];
    T factors[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int at = i - begin + u;
      places[u] = place;
      factors[u] = 1;
      seen[u] = place >= 0 && i + u < end && (hidden[row * kColumnWords + at / kTileRows] >> at % kTileRows & 1) == 0;
      queries[u] = i + u < end ? i + u : i;
      q_part[u] = load_row<Part>(q.row(queries[u]), 0, width, seen[u]);
      dout_part[u] = load_row<Part>(dout.row(queries[u]), 0, value_width, seen[u]);
    }
    if (args.dropout.active) args.dropout.factors(work.b, work.h, SlotKind::column, places, queries, factors);
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u)
      key.add(args, q.row(queries[u]), dout.row(queries[u]), q_part[u], dout_part[u], column,
              query_numbers(args, work, queries[u], seen[u]), score, factors[u], seen[u]);
  }

  if (place < 0) return;
  T* const sums = args.column_sums + ((work.head * args.ranges() + range) * count + slot) * (width + value_width);
  key.dk.store(sums, column, width);
  key.dv.store(sums + width, column, value_width);
}

// The first blocks own keys, those behind them columns: they write to different places, and run side by side.
template <class T, class R, class Part>
__global__ void __launch_bounds__(kSlotThreads)
    lag_column_grad_keys_and_columns(LagColumnBackward<T, R> args, Index key_blocks) {
  SharedMemory shared;
  const SlotTile<T> tile(shared);
  unsigned* const hidden = shared.take<unsigned>(kSlotRows * kColumnWords);  // [column][word]: who does not see it
  if (blockIdx.x < key_blocks)
    lag_column_grad_keys<T, R, Part>(args, blockIdx.x, tile);
  else
    lag_column_grad_columns<T, R, Part>(args, blockIdx.x - key_blocks, hidden);
}

// Blocks of a head: the first makes the gradients of the scores, its threads 32 slots by 8 rows that share the tiles of
// queries; the threads of the others have a feature of a column each, whose ranges they add to dk or dv, in order.
template <class T>
__global__ void lag_column_grad_sums(LagColumnBackward<T, T> args, int blocks_per_head) {
  SharedMemory shared;
  T* const rows = shared.take<T>(kSlotThreads);
  const SlotWork work(blockIdx.x, args.q.dim(1), blocks_per_head, 1);
  const int thread = static_cast<int>(threadIdx.x), width = args.width(), both = width + args.value_width();
  const int n = static_cast<int>(args.chosen.lengths[work.b]), positions = args.positions();
  const int lags = args.chosen.lag_count, columns = args.chosen.column_count;

  if (work.tile > 0) {
    const int at = (work.tile - 1) * kSlotThreads + thread, slot = at / both, c = at % both;
    const int place = slot < columns ? args.chosen.place(SlotKind::column, work.head, slot, n) : -1;
    if (place < 0) return;
    T& to = c < width ? args.dk(work.b, work.h, place, c) : args.dv(work.b, work.h, place, c - width);
    const T* const from = args.column_sums + work.head * args.ranges() * columns * both + at;
    T sum = 0;
#pragma unroll 8
    for (int range = 0; range < tiles(n, kColumnRange); ++range) sum += from[Index{range} * columns * both];
    to += c < width ? args.scale * sum : sum;
    return;
  }

  T* const dlag = args.dlag_score + work.head * positions;
  T* const dcol = args.dcol_score + work.head * positions;
  for (int x = thread; x < positions; x += kSlotThreads) dlag[x] = dcol[x] = 0;
  const int lane = thread % kWarp, y = thread / kWarp;
  for (int from = 0; from < lags + columns; from += kWarp) {
    const int slot = from + lane;
    const bool is_lag = slot < lags;
    const SlotKind kind = is_lag ? SlotKind::lag : SlotKind::column;
    const int place = slot < lags + columns ? args.chosen.place(kind, work.head, is_lag ? slot : slot - lags, n) : -1;
    T sum = 0;
    if (place >= 0) {
      const T* const sums = args.slot_sums + work.head * args.row_tiles() * args.slots() + slot;
#pragma unroll 8
      for (int tile = y; tile < tiles(n, kSlotRows); tile += kSlotWarps) sum += sums[Index{tile} * args.slots()];
    }
    __syncthreads();  // the rows before have been read, and the zeros stand
    rows[thread] = sum;
    __syncthreads();
    if (y > 0 || place < 0) continue;
    for (int other = 1; other < kSlotWarps; ++other) sum += rows[other * kWarp + lane];
    (is_lag ? dlag : dcol)[place] = sum;
  }
}

}  // namespace

void lag_column_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                               const Tensor& v, const LagColumns& chosen, const AttentionOutput& forward,
                               const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                               LagColumnGrads& grads) {
  constexpr const char* kOp = "lag_column_attention_grad";
  if (grads.dlag_score.size() == 0) return;
  const Index heads = q.dim(0) * q.dim(1), width = q.dim(3), value_width = v.dim(3);
  const int positions = static_cast<int>(q.dim(2)), columns = static_cast<int>(chosen.columns.dim(2));
  const Index row_tiles = tiles(positions, kSlotRows), ranges = tiles(positions, kColumnRange);
  const Index slots = chosen.lags.dim(2) + columns;
  const auto buffer = [&](const Shape& shape) { return empty(shape, q.dtype(), q.device(), kOp); };
  Tensor delta = buffer({heads, q.dim(2)}), slot_sums = buffer({heads, row_tiles, slots});
  Tensor column_sums = buffer({heads, ranges, columns, width + value_width});
  visit_float(kOp, q.dtype(), [&]<class T>(Type<T>) {
    const View<const T, 3> no_dlse(nullptr, {0, 0, 0}, {0, 0, 0});
    const auto arguments = [&]<class R>(Type<R>, const std::vector<Tensor>& rows) {
      return LagColumnBackward<T, R>{rows[0].view<const R, 4>(),
                                     rows[1].view<const R, 4>(),
                                     rows[2].view<const R, 4>(),
                                     rows[3].view<const R, 4>(),
                                     forward.out.view<const T, 4>(),
                                     forward.lse.view<const T, 3>(),
                                     forward.lse_rest.view<const T, 3>(),
                                     dlse.defined() ? dlse.view<const T, 3>() : no_dlse,
                                     ChosenSlots<T>(chosen, scores, mask, q.dim(2)),
                                     SlotDropout(options, q.dim(1)),
                                     static_cast<T>(options.scale),
                                     grads.dq.view<T, 4>(),
                                     grads.dk.view<T, 4>(),
                                     grads.dv.view<T, 4>(),
                                     delta.data<T>(),
                                     slot_sums.data<T>(),
                                     column_sums.data<T>(),
                                     grads.dlag_score.data<T>(),
                                     grads.dcol_score.data<T>()};
    };
    const std::vector<Tensor> operands = {dout, q, k, v};
    const bool packs = heads_can_pack<T>(dout, q, k, v, forward.out, grads.dq, grads.dk, grads.dv);
    const int wider = static_cast<int>(std::max(width, value_width));
    with_row_part<T>(wider, packs, [&]<class Part>(Type<Part>) {
      const int query_chunks = tiles(static_cast<int>(width), Part::kFeatures), chunks = tiles(wider, Part::kFeatures);
      const Index key_blocks = heads * row_tiles * chunks;
      const Index column_blocks = heads * ranges * tiles(columns, kSlotRows) * chunks;
      with_operand_rows<T, Part>(operands, [&]<class R>(Type<R> type, const std::vector<Tensor>& rows) {
        const LagColumnBackward<T, R> args = arguments(type, rows);
        launch(lag_column_grad_queries<T, R, Part>, dim3(blocks_for(kOp, heads * row_tiles * query_chunks, 1)),
               dim3(kSlotThreads), SlotTile<T>::bytes() + shared_size<T>(kSlotWarps * kSlotTile), current_stream(),
               args);
        launch(lag_column_grad_keys_and_columns<T, R, Part>, dim3(blocks_for(kOp, key_blocks + column_blocks, 1)),
               dim3(kSlotThreads), SlotTile<T>::bytes() + shared_size<unsigned>(kSlotRows * kColumnWords),
               current_stream(), args, key_blocks);
      });
    });
    const int sum_blocks = 1 + tiles(columns * static_cast<int>(width + value_width), kSlotThreads);
    launch(lag_column_grad_sums<T>, dim3(blocks_for(kOp, heads * sum_blocks, 1)), dim3(kSlotThreads),
           shared_size<T>(kSlotThreads), current_stream(), arguments(Type<T>{}, operands), sum_blocks);
  });
}

}  // namespace subquad::kernels::cuda
