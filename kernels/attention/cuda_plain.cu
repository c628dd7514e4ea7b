#include "subquad/kernels/attention/cuda_plain.cuh"

#include <cmath>
#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/warp/reduce.cuh"

// A block of four warps owns 16 rows (queries, or in the gradient of keys and values keys) and 64 columns of the
// result; it walks over the other side in tiles of 32 rows. Warp w has rows 4w ... 4w + 3; lane l has row l of the tile
// when logits are made, and columns l and l + 32 when they are used. Wider results take several blocks, each of which
// makes the logits again: this is the way of float64 and of very wide heads, where little time is spent.
namespace subquad::kernels::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr int kRowsPerWarp = 4, kOwnRows = kWarps * kRowsPerWarp;
constexpr int kDepth = 32;           // features that a step of a dot product stages
constexpr int kPitch = kDepth + 1;   // of a staged row: lanes that read a column hit different banks
constexpr int kColumns = 2 * kWarp;  // of the result, per block

template <class T>
struct Stage {
  T *own, *walked;  // [16][pitch], [32][pitch]: some features of both sides
  T* weights;       // [16][pitch]: what the walked rows are multiplied by
  T* columns;       // [32][64]: some columns of the walked rows

  __device__ explicit Stage(SharedMemory& shared)
      : own(shared.take<T>(kOwnRows * kPitch)),
        walked(shared.take<T>(kTileRows * kPitch)),
        weights(shared.take<T>(kOwnRows * kPitch)),
        columns(shared.take<T>(kTileRows * kColumns)) {}

  static constexpr std::size_t bytes() {
    return 2 * shared_size<T>(kOwnRows * kPitch) + shared_size<T>(kTileRows * kPitch) +
           shared_size<T>(kTileRows * kColumns);
  }
};

// Some neighbouring rows of a head; those whose bit is 0 are not read and count as zeros.
template <class T>
struct RowTile {
  HeadRows<const T> rows;
  int first;
  unsigned bits;
  T scale = 1;
};

// to[r][c] = scale * rows[first + r][column + c], threads along c.
template <class T>
__device__ void stage_rows(const RowTile<T>& tile, int count, int column, int columns, int width, T* to, int pitch) {
  for (int x = static_cast<int>(threadIdx.x); x < count * columns; x += kThreads) {
    const int r = x / columns, c = x % columns;
    const bool counts = (tile.bits >> r & 1) != 0 && column + c < width;
    to[r * pitch + c] = counts ? tile.scale * tile.rows.row(tile.first + r)[column + c] : T(0);
  }
}

// dots[r] = sum_e own[4 warp + r][e] walked[lane][e], in the order of e whichever side owns: forward and backward get
// the same logits, bit for bit.
template <class T>
__device__ void dot_rows(T (&dots)[kRowsPerWarp], const RowTile<T>& own, const RowTile<T>& walked, int width,
                         const Stage<T>& stage) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, row = static_cast<int>(threadIdx.x) / kWarp * kRowsPerWarp;
  for (T& dot : dots) dot = 0;
  for (int e = 0; e < width; e += kDepth) {
    __syncthreads();  // the stage is no longer read
    stage_rows(own, kOwnRows, e, kDepth, width, stage.own, kPitch);
    stage_rows(walked, kTileRows, e, kDepth, width, stage.walked, kPitch);
    __syncthreads();
    for (int c = 0; c < kDepth; ++c) {
      const T x = stage.walked[lane * kPitch + c];
      for (int r = 0; r < kRowsPerWarp; ++r) dots[r] += stage.own[(row + r) * kPitch + c] * x;
    }
  }
}

// sums[r][half] += sum_j weights[r] of lane j * walked[j][column + lane + 32 half]
template <class T>
__device__ void add_columns(T (&sums)[kRowsPerWarp][2], const T (&weights)[kRowsPerWarp], const RowTile<T>& walked,
                            int column, int width, const Stage<T>& stage) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, row = static_cast<int>(threadIdx.x) / kWarp * kRowsPerWarp;
  __syncthreads();
  stage_rows(walked, kTileRows, column, kColumns, width, stage.columns, kColumns);
  for (int r = 0; r < kRowsPerWarp; ++r) stage.weights[(row + r) * kPitch + lane] = weights[r];
  __syncthreads();
  for (int j = 0; j < kTileRows; ++j) {
    for (int half = 0; half < 2; ++half) {
      const T x = stage.columns[j * kColumns + lane + half * kWarp];
      for (int r = 0; r < kRowsPerWarp; ++r) sums[r][half] += stage.weights[(row + r) * kPitch + j] * x;
    }
  }
}

// row[column + lane + 32 half] = scale * sums[half]
template <class T>
__device__ void store_columns(T* row, const T (&sums)[2], T scale, int column, int width) {
  for (int half = 0; half < 2; ++half) {
    const int c = column + half * kWarp + static_cast<int>(threadIdx.x) % kWarp;
    if (c < width) row[c] = scale * sums[half];
  }
}

// What a block works on: heads outermost, the chunks of columns innermost.
struct Work {
  Index b, h;
  int first_row, chunk;

  __device__ Work(Index heads, int rows, int chunks) {
    const Index block = blockIdx.x, row_tiles = tiles(rows, kOwnRows), head = block / chunks / row_tiles;
    b = head / heads;
    h = head % heads;
    first_row = static_cast<int>(block / chunks % row_tiles) * kOwnRows;
    chunk = static_cast<int>(block % chunks);
  }
};

Index blocks(const Tensor& rows, int chunks) {
  return rows.dim(0) * rows.dim(1) * tiles(static_cast<int>(rows.dim(2)), kOwnRows) * chunks;
}
int chunks_of(Index width) {
  return tiles(static_cast<int>(width), kColumns);
}

template <class T>
struct ForwardArguments {
  View<const T, 4> q, k, v;
  Sight sight;
  T scale;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// Owns queries, walks over keys; the block of the first 64 columns writes the log-sum-exp, too.
template <class T>
__global__ void attention_plain_queries(ForwardArguments<T> args) {
  SharedMemory shared;
  const Stage<T> stage(shared);
  const int width = static_cast<int>(args.q.dim(3)), value_width = static_cast<int>(args.v.dim(3));
  const Work work(args.q.dim(1), static_cast<int>(args.q.dim(2)), tiles(value_width, kColumns));
  const SampleSight sight = args.sight.sample(work.b);
  const int column = work.chunk * kColumns;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = work.first_row + static_cast<int>(threadIdx.x) / kWarp * kRowsPerWarp;

  const unsigned own_bits = sight.query_bits(work.first_row) & bits_below(kOwnRows);
  const RowTile<T> queries{{args.q, work.b, work.h}, work.first_row, own_bits, args.scale};
  T top[kRowsPerWarp], sum[kRowsPerWarp] = {}, sums[kRowsPerWarp][2] = {};
  for (T& t : top) t = std::numeric_limits<T>::lowest();

  const int end = own_bits != 0 ? sight.limit(work.first_row + kOwnRows - 1) : 0;
  for (SampleSight::Tile tile = sight.next_keys(0, end); tile.bits != 0;
       tile = sight.next_keys(tile.first + kTileRows, end)) {
    const auto [j, bits] = tile;
    T p[kRowsPerWarp];
    dot_rows(p, queries, {{args.k, work.b, work.h}, j, bits}, width, stage);
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const bool seen = (bits >> lane & 1) != 0 && (own_bits >> (first + r - work.first_row) & 1) != 0 &&
                        j + lane < sight.limit(first + r);
      const T logit = seen ? p[r] : -std::numeric_limits<T>::infinity();
      const T new_top = Max::of(top[r], warp_max(logit));
      const T shrink = std::exp(top[r] - new_top);
      p[r] = std::exp(logit - new_top);
      top[r] = new_top;
      sum[r] = sum[r] * shrink + p[r];
      for (T& s : sums[r]) s *= shrink;
    }
    add_columns(sums, p, {{args.v, work.b, work.h}, j, bits}, column, value_width, stage);
  }

  const HeadRows<T> out(args.out, work.b, work.h), lse(args.lse, work.b, work.h), rest(args.lse_rest, work.b, work.h);
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const T total = warp_sum(sum[r]);
    if (first + r >= sight.query_count) continue;
    store_columns(out.row(first + r), sums[r], total == 0 ? T(0) : 1 / total, column, value_width);
    if (work.chunk == 0 && lane == 0) store_lse(top[r], total, lse.row(first + r), rest.row(first + r));
  }
}

template <class T>
struct GradArguments {
  View<const T, 4> dout, q, k, v;
  View<const T, 3> lse, lse_rest, delta;
  Sight sight;
  T scale;
  View<T, 4> dq, dk, dv;
};

// Weight of a pair that sees each other; 1 at most, whatever forward results the caller hands in.
template <class T>
__device__ T weight(T logit, T lse, T rest) {
  const T log_p = logit - lse - rest;
  return std::exp(log_p > 0 ? T(0) : log_p);
}

// Owns queries, walks over keys: dq = scale sum_j ds[i, j] k[j].
template <class T>
__global__ void attention_grad_plain_queries(GradArguments<T> args) {
  SharedMemory shared;
  const Stage<T> stage(shared);
  const int width = static_cast<int>(args.q.dim(3)), value_width = static_cast<int>(args.v.dim(3));
  const Work work(args.q.dim(1), static_cast<int>(args.q.dim(2)), tiles(width, kColumns));
  const SampleSight sight = args.sight.sample(work.b);
  const HeadRows<const T> lse(args.lse, work.b, work.h), rest(args.lse_rest, work.b, work.h);
  const HeadRows<const T> delta(args.delta, work.b, work.h);
  const HeadRows<T> dq(args.dq, work.b, work.h);
  const int column = work.chunk * kColumns;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = work.first_row + static_cast<int>(threadIdx.x) / kWarp * kRowsPerWarp;

  const unsigned own_bits = sight.query_bits(work.first_row, lse) & bits_below(kOwnRows);
  const RowTile<T> queries{{args.q, work.b, work.h}, work.first_row, own_bits, args.scale};
  const RowTile<T> douts{{args.dout, work.b, work.h}, work.first_row, own_bits};
  T sums[kRowsPerWarp][2] = {};

  const int end = own_bits != 0 ? sight.limit(work.first_row + kOwnRows - 1) : 0;
  for (SampleSight::Tile tile = sight.next_keys(0, end); tile.bits != 0;
       tile = sight.next_keys(tile.first + kTileRows, end)) {
    const auto [j, bits] = tile;
    const RowTile<T> keys{{args.k, work.b, work.h}, j, bits};
    T ds[kRowsPerWarp], dp[kRowsPerWarp];
    dot_rows(ds, queries, keys, width, stage);
    dot_rows(dp, douts, {{args.v, work.b, work.h}, j, bits}, value_width, stage);
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const int i = first + r;
      const bool seen =
          (bits >> lane & 1) != 0 && (own_bits >> (i - work.first_row) & 1) != 0 && j + lane < sight.limit(i);
      ds[r] = seen ? weight(ds[r], *lse.row(i), *rest.row(i)) * (dp[r] - *delta.row(i)) : T(0);
    }
    add_columns(sums, ds, keys, column, width, stage);
  }
  for (int r = 0; r < kRowsPerWarp; ++r)
    if (first + r < sight.query_count) store_columns(dq.row(first + r), sums[r], args.scale, column, width);
}

// Owns keys, walks over queries. The first blocks of a tile of keys make the columns of dk = scale sum_i ds[i, j] q[i],
// the others those of dv = sum_i p[i, j] dout[i].
template <class T>
__global__ void attention_grad_plain_keys(GradArguments<T> args) {
  SharedMemory shared;
  const Stage<T> stage(shared);
  const int width = static_cast<int>(args.q.dim(3)), value_width = static_cast<int>(args.v.dim(3));
  const int key_chunks = tiles(width, kColumns);
  const Work work(args.k.dim(1), static_cast<int>(args.k.dim(2)), key_chunks + tiles(value_width, kColumns));
  const SampleSight sight = args.sight.sample(work.b);
  const HeadRows<const T> lse(args.lse, work.b, work.h), rest(args.lse_rest, work.b, work.h);
  const HeadRows<const T> delta(args.delta, work.b, work.h);
  const bool makes_dv = work.chunk >= key_chunks;
  const int column = (work.chunk - (makes_dv ? key_chunks : 0)) * kColumns;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = work.first_row + static_cast<int>(threadIdx.x) / kWarp * kRowsPerWarp;

  const unsigned own_bits = sight.key_bits(work.first_row) & bits_below(kOwnRows);
  const RowTile<T> keys{{args.k, work.b, work.h}, work.first_row, own_bits};
  const RowTile<T> values{{args.v, work.b, work.h}, work.first_row, own_bits};
  T sums[kRowsPerWarp][2] = {};

  const int begin = sight.first_query(work.first_row), end = own_bits != 0 ? sight.query_end() : 0;
  for (SampleSight::Tile tile = sight.next_queries(begin, end, lse); tile.bits != 0;
       tile = sight.next_queries(tile.first + kTileRows, end, lse)) {
    const auto [i, bits] = tile;
    const RowTile<T> queries{{args.q, work.b, work.h}, i, bits, args.scale};
    const RowTile<T> douts{{args.dout, work.b, work.h}, i, bits};
    T p[kRowsPerWarp], dp[kRowsPerWarp];
    dot_rows(p, keys, queries, width, stage);
    if (!makes_dv) dot_rows(dp, values, douts, value_width, stage);
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const int j = first + r, query = i + lane;
      const bool seen =
          (bits >> lane & 1) != 0 && (own_bits >> (j - work.first_row) & 1) != 0 && j < sight.limit(query);
      p[r] = seen ? weight(p[r], *lse.row(query), *rest.row(query)) : T(0);
      if (!makes_dv) p[r] = seen ? p[r] * (dp[r] - *delta.row(query)) : T(0);
    }
    if (makes_dv)
      add_columns(sums, p, douts, column, value_width, stage);
    else
      add_columns(sums, p, {queries.rows, i, bits}, column, width, stage);
  }
  const HeadRows<T> result(makes_dv ? args.dv : args.dk, work.b, work.h);
  for (int r = 0; r < kRowsPerWarp; ++r)
    if (first + r < sight.key_count)
      store_columns(result.row(first + r), sums[r], makes_dv ? T(1) : args.scale, column,
                    makes_dv ? value_width : width);
}

}  // namespace

void attention_plain(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                     const AttentionOptions& options, AttentionOutput& result) {
  visit_float("attention", q.dtype(), [&]<class T>(Type<T>) {
    const ForwardArguments<T> args{q.view<const T, 4>(),       k.view<const T, 4>(),          v.view<const T, 4>(),
                                   Sight(q, k, keys, options), static_cast<T>(options.scale), result.out.view<T, 4>(),
                                   result.lse.view<T, 3>(),    result.lse_rest.view<T, 3>()};
    const unsigned grid = blocks_for("attention", blocks(q, chunks_of(v.dim(3))), 1);
    launch(attention_plain_queries<T>, dim3(grid), dim3(kThreads), Stage<T>::bytes(), current_stream(), args);
  });
}

void attention_grad_plain(const Tensor& dout, const Tensor& delta, const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options,
                          AttentionGrads& grads) {
  visit_float("attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    const GradArguments<T> args{
        dout.view<const T, 4>(),  q.view<const T, 4>(),           k.view<const T, 4>(),
        v.view<const T, 4>(),     forward.lse.view<const T, 3>(), forward.lse_rest.view<const T, 3>(),
        delta.view<const T, 3>(), Sight(q, k, keys, options),     static_cast<T>(options.scale),
        grads.dq.view<T, 4>(),    grads.dk.view<T, 4>(),          grads.dv.view<T, 4>()};
    if (q.dim(2) > 0) {
      const unsigned grid = blocks_for("attention_grad", blocks(q, chunks_of(q.dim(3))), 1);
      launch(attention_grad_plain_queries<T>, dim3(grid), dim3(kThreads), Stage<T>::bytes(), current_stream(), args);
    }
    if (k.dim(2) > 0) {
      const unsigned grid = blocks_for("attention_grad", blocks(k, chunks_of(k.dim(3)) + chunks_of(v.dim(3))), 1);
      launch(attention_grad_plain_keys<T>, dim3(grid), dim3(kThreads), Stage<T>::bytes(), current_stream(), args);
    }
  });
}

}  // namespace subquad::kernels::cuda
