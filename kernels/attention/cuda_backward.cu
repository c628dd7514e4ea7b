#include <numbers>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_sections.cuh"
#include "subquad/kernels/attention/cuda_tensor_core.cuh"
#include "subquad/kernels/attention/cuda_tile.cuh"

// Two kernels, each of which owns what it writes, so that nothing is added up between blocks: one owns queries and
// makes dq, the other owns keys and makes dk and dv. Both make the weights p and the products dout v^T again, 7
// products in all where 5 would do if blocks took turns.
namespace subquad::kernels::cuda {
namespace {

constexpr float kLog2E = std::numbers::log2e_v<float>;
constexpr int kBlockRows = kTensorWarps * kFragmentRows;

// Whether the fragments of both own tensors fit into registers beside the gradients.
template <int W>
constexpr bool kKeepQueries = W <= 64;
template <class Product, int W>
constexpr bool kKeepKeys = W <= (std::is_same_v<Product, Fp32Product> ? 32 : 64);

// Whether delta waits in shared memory until a tile's products are made: there are registers for all but that.
template <int W>
constexpr bool kLateDelta = W == 64;

// Blocks for the same keys: one makes dk and dv, or, where both do not fit into registers, one makes either.
template <int W>
constexpr int kKeyBlocks = W <= 64 ? 1 : 2;

struct GradArguments {
  View<const float, 4> dout, out, q, k, v;
  View<const float, 3> lse, lse_rest, dlse;  // dlse may have no data
  float* delta;                              // [B, H, Nq], what the first kernel tells the second
  Sight sight;
  Sections of_keys, of_queries;  // sections that a block with queries (keys) walks over
  float scale;
  bool packed;
  View<float, 4> dq, dk, dv;  // [S B, H, N, E]: what each section gives

  __device__ RowFormat format() const { return {static_cast<int>(q.dim(3)), packed}; }
  __device__ RowFormat value_format() const { return {static_cast<int>(v.dim(3)), packed}; }
  __device__ float* deltas(int b, int h) const { return delta + (Index{b} * q.dim(1) + h) * q.dim(2); }
};

// The head and the first row of a block that owns rows of x, and its section of the other side; `share` of them have
// the same.
struct Place {
  int b, h, first, section;

  __device__ Place(View<const float, 4> x, Sections sections, int share = 1) {
    const int block = static_cast<int>(blockIdx.x) / share / sections.count, heads = static_cast<int>(x.dim(1));
    section = static_cast<int>(blockIdx.x) / share % sections.count;
    const int block_tiles = tiles(static_cast<int>(x.dim(2)), kBlockRows), head = block / block_tiles;
    b = head / heads;
    h = head % heads;
    first = block % block_tiles * kBlockRows;
  }
};

// Weight of a pair that sees each other, rest to base 2. 1 at most, whatever forward results the caller hands in; keeps
// a NaN.
__device__ float weight(float logit, float lse, float rest) {
  const float log2_p = (logit - lse) * kLog2E - rest;
  return fast_exp2(log2_p > 0 ? 0.0f : log2_p);
}

// sum_c dout[c] out[c] of a row that four neighbouring lanes share; all of them get it. Null rows are zeros. All lanes
// of the warp call.
template <int W>
__device__ float row_dot(const float* dout, const float* out, RowFormat format) {
  float sum = 0;
#pragma unroll 1
  for (int column = 4 * Lane().t; column < W; column += 16) {
    const Four x = load_four(dout, column, format), y = load_four(out, column, format);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += x.at[i] * y.at[i];
  }
  sum += __shfl_xor_sync(kWholeWarp, sum, 1);
  return sum + __shfl_xor_sync(kWholeWarp, sum, 2);
}

// A block owns 64 queries of a head, whose delta it makes, and walks over the tiles of keys and values that any of them
// sees, copying the next tile while it works on one:
//
//   delta = sum dout out - dlse     p = e^(q k^T - lse)     ds = p (dout v^T - delta)     dq += ds k
template <class Product, int W>
__global__ void __launch_bounds__(kTensorThreads) attention_backward_queries(GradArguments args) {
  SharedMemory shared;
  float* const key_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const value_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const deltas = shared.take<float>(kBlockRows);
  const Place place(args.q, args.of_keys);
  const SampleSight sight = args.sight.sample(place.b);
  const HeadRows<const float> q(args.q, place.b, place.h), dout(args.dout, place.b, place.h);
  const HeadRows<const float> k(args.k, place.b, place.h), v(args.v, place.b, place.h);
  const HeadRows<const float> lse_rows(args.lse, place.b, place.h), rest_rows(args.lse_rest, place.b, place.h);
  const HeadRows<const float> out(args.out, place.b, place.h);
  const RowFormat format = args.format(), value_format = args.value_format();
  const Lane lane;

  int limit[2];  // what the lane's two queries see: 0 for those that do not count
  float lse[2] = {}, rest[2] = {};
  const float *q_row[2] = {}, *dout_row[2] = {};
  bool any = false;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane.row(place.first, 1, 0, half);
    limit[half] = sight.query_counts(i) && *lse_rows.row(i) != -INFINITY ? sight.limit(i) : 0;
    const bool counts = limit[half] > 0;
    if (counts) {
      any = true;
      q_row[half] = q.row(i);
      dout_row[half] = dout.row(i);
      lse[half] = *lse_rows.row(i);
      rest[half] = *rest_rows.row(i) * kLog2E;
    }
    float delta = row_dot<W>(dout_row[half], counts ? out.row(i) : nullptr, value_format);
    if (counts && args.dlse.data() != nullptr) delta -= args.dlse(place.b, place.h, i);
    if (lane.t != 0) continue;
    deltas[lane.row(0, 1, 0, half)] = delta;
    if (counts && place.section == 0) args.deltas(place.b, place.h)[i] = delta;
  }
  OwnRows<Product, W, kKeepQueries<W>> queries[1], douts[1];
  queries[0].set(q_row[0], q_row[1], format, args.scale);
  douts[0].set(dout_row[0], dout_row[1], value_format, 1.0f);

  Sums<1, W> dq = {};
  const int block_end = __syncthreads_or(any) != 0 ? sight.limit(place.first + kBlockRows - 1) : 0;
  float delta[2];
  const auto read_delta = [&] {
#pragma unroll
    for (int half = 0; half < 2; ++half) delta[half] = deltas[lane.row(0, 1, 0, half)];
  };
  if constexpr (!kLateDelta<W>) read_delta();
  const int end = args.of_keys.end(place.section, block_end);
  int stage = 0;
  SampleSight::Tile tile = sight.next_keys(args.of_keys.begin(place.section), end);
  copy_rows<W>(k, tile.first, tile.bits, format, key_tiles);
  copy_rows<W>(v, tile.first, tile.bits, value_format, value_tiles);
  copy_async_commit();
  while (tile.bits != 0) {
    const SampleSight::Tile next = sight.next_keys(tile.first + kTileRows, end);
    const int next_stage = 1 - stage;
    copy_rows<W>(k, next.first, next.bits, format, key_tiles + next_stage * kTileSize<W>);
    copy_rows<W>(v, next.first, next.bits, value_format, value_tiles + next_stage * kTileSize<W>);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();

    const float* const keys = key_tiles + stage * kTileSize<W>;
    Logits<1> ds, dp;
    multiply_rows<Product, Queries::left>(ds, queries, keys, 1.0f);
    multiply_rows<Product, Queries::left>(dp, douts, value_tiles + stage * kTileSize<W>, 1.0f);
    if constexpr (kLateDelta<W>) read_delta();
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        ds[0][n][e] = weight(ds[0][n][e], lse[e / 2], rest[e / 2]) * (dp[0][n][e] - delta[e / 2]);
#pragma unroll
    for (int half = 0; half < 2; ++half) hide(ds[0], half, tile.bits & bits_below(limit[half] - tile.first), 0.0f);
    multiply_columns<Product, W>(dq, ds, keys);

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = next_stage;
  }

  const HeadRows<float> dq_rows(args.dq, place.section * args.q.dim(0) + place.b, place.h);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane.row(place.first, 1, 0, half);
    if (i < sight.query_count) store_sums<W>(dq_rows.row(i), dq[0], half, args.scale, format);
  }
}

// lse, lse_rest and delta of a tile of queries in shared memory.
struct QueryTile {
  float *lse, *rest, *delta;  // [32]

  static constexpr int kSize = 3 * kTileRows;
  __device__ explicit QueryTile(float* memory) : lse(memory), rest(lse + kTileRows), delta(rest + kTileRows) {}

  // Starts copying them as copy_rows does.
  __device__ void copy(const HeadRows<const float>& lse_rows, const HeadRows<const float>& rest_rows,
                       const float* deltas, SampleSight::Tile tile) {
    const int r = static_cast<int>(threadIdx.x);
    if (r >= kTileRows || tile.bits == 0) return;
    const bool valid = (tile.bits >> r & 1) != 0;
    const int i = valid ? tile.first + r : 0;
    copy_async_4(lse + r, lse_rows.row(i), valid);
    copy_async_4(rest + r, rest_rows.row(i), valid);
    copy_async_4(delta + r, deltas + i, valid);
  }
};

// A block owns 64 keys and their values and walks over the tiles of queries that see any of them, copying the next tile
// while it works on one; rows of its products are keys, columns queries:
//
//   p = e^(k q^T - lse)     dv += p dout     ds = p (v dout^T - delta)     dk += ds q
template <class Product, int W>
__global__ void __launch_bounds__(kTensorThreads) attention_backward_keys(GradArguments args) {
  SharedMemory shared;
  float* const query_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const dout_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const numbers = shared.take<float>(2 * QueryTile::kSize);
  const Place place(args.k, args.of_queries, kKeyBlocks<W>);
  const bool makes_dv = kKeyBlocks<W> == 1 || blockIdx.x % 2 == 0, makes_dk = kKeyBlocks<W> == 1 || !makes_dv;
  const SampleSight sight = args.sight.sample(place.b);
  const HeadRows<const float> q(args.q, place.b, place.h), dout(args.dout, place.b, place.h);
  const HeadRows<const float> k(args.k, place.b, place.h), v(args.v, place.b, place.h);
  const HeadRows<const float> lse_rows(args.lse, place.b, place.h), rest_rows(args.lse_rest, place.b, place.h);
  const float* const deltas = args.deltas(place.b, place.h);
  const RowFormat format = args.format(), value_format = args.value_format();
  const Lane lane;

  int first_query[2];  // that sees the lane's two keys; none does where a key does not count
  const float *k_row[2] = {}, *v_row[2] = {};
  bool any = false;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int j = lane.row(place.first, 1, 0, half);
    first_query[half] = sight.query_count;
    if (!sight.key_counts(j)) continue;
    any = true;
    first_query[half] = sight.first_query(j);
    k_row[half] = k.row(j);
    v_row[half] = v.row(j);
  }
  OwnRows<Product, W, kKeepKeys<Product, W>> keys[1], values[1];
  keys[0].set(k_row[0], k_row[1], format, 1.0f);
  values[0].set(v_row[0], v_row[1], value_format, 1.0f);

  Sums<1, W> sums[3 - kKeyBlocks<W>] = {}, &dv = sums[0], &dk = sums[2 - kKeyBlocks<W>];
  const int begin = std::max(sight.first_query(place.first), args.of_queries.begin(place.section));
  const int end = args.of_queries.end(place.section, __syncthreads_or(any) != 0 ? sight.query_end() : 0);
  int stage = 0;
  SampleSight::Tile tile = sight.next_queries(begin, end, lse_rows);
  copy_rows<W>(q, tile.first, tile.bits, format, query_tiles);
  copy_rows<W>(dout, tile.first, tile.bits, value_format, dout_tiles);
  QueryTile(numbers).copy(lse_rows, rest_rows, deltas, tile);
  copy_async_commit();
  while (tile.bits != 0) {
    const SampleSight::Tile next = sight.next_queries(tile.first + kTileRows, end, lse_rows);
    const int next_stage = 1 - stage;
    copy_rows<W>(q, next.first, next.bits, format, query_tiles + next_stage * kTileSize<W>);
    copy_rows<W>(dout, next.first, next.bits, value_format, dout_tiles + next_stage * kTileSize<W>);
    QueryTile(numbers + next_stage * QueryTile::kSize).copy(lse_rows, rest_rows, deltas, next);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();

    const float* const queries = query_tiles + stage * kTileSize<W>;
    const float* const douts = dout_tiles + stage * kTileSize<W>;
    const QueryTile of(numbers + stage * QueryTile::kSize);
    Logits<1> p, ds;
    multiply_rows<Product, Queries::right>(p, keys, queries, args.scale);
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = 8 * n + 2 * lane.t + e % 2;
        p[0][n][e] = weight(p[0][n][e], of.lse[i], of.rest[i] * kLog2E);
      }
#pragma unroll
    for (int half = 0; half < 2; ++half) hide(p[0], half, tile.bits & bits_from(first_query[half] - tile.first), 0.0f);
    if (makes_dv) multiply_columns<Product, W>(dv, p, douts);

    if (makes_dk) {
      multiply_rows<Product, Queries::right>(ds, values, douts, 1.0f);
#pragma unroll
      for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) ds[0][n][e] = p[0][n][e] * (ds[0][n][e] - of.delta[8 * n + 2 * lane.t + e % 2]);
      multiply_columns<Product, W>(dk, ds, queries);
    }

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = next_stage;
  }

  const Index part = place.section * args.q.dim(0) + place.b;
  const HeadRows<float> dk_rows(args.dk, part, place.h), dv_rows(args.dv, part, place.h);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int j = lane.row(place.first, 1, 0, half);
    if (j >= sight.key_count) continue;
    if (makes_dk) store_sums<W>(dk_rows.row(j), dk[0], half, args.scale, format);
    if (makes_dv) store_sums<W>(dv_rows.row(j), dv[0], half, 1.0f, value_format);
  }
}

// out = the sum of parts over the sections, a thread per number; parts [S, count] with out's numbers in row-major
// order.
struct SectionSum {
  const float* parts;
  View<float, 4> out;

  __device__ Index count() const { return out.dim(0) * out.dim(1) * out.dim(2) * out.dim(3); }
  __device__ void add(Index at, int sections) const {
    float sum = parts[at];
#pragma unroll 8
    for (int s = 1; s < sections; ++s) sum += parts[s * count() + at];
    const Index c = at % out.dim(3), row = at / out.dim(3);
    out(row / out.dim(2) / out.dim(1), row / out.dim(2) % out.dim(1), row % out.dim(2), c) = sum;
  }
};

// The second sum may be of nothing.
__global__ void attention_add_sections(SectionSum first, SectionSum second, int sections) {
  const Index at = Index{blockIdx.x} * kTensorThreads + threadIdx.x, count = first.count();
  if (at < count)
    first.add(at, sections);
  else if (at < count + second.count())
    second.add(at - count, sections);
}

void add_sections(int sections, const Tensor& parts, Tensor& out, const Tensor& more_parts, Tensor& more_out) {
  launch(attention_add_sections, dim3(blocks_for("attention_grad", out.size() + more_out.size(), kTensorThreads)),
         dim3(kTensorThreads), 0, current_stream(), SectionSum{parts.data<float>(), out.view<float, 4>()},
         SectionSum{more_parts.data<float>(), more_out.view<float, 4>()}, sections);
}

// Where each section puts its part of `total`: in `total` itself where there is one.
Tensor parts_of(const Tensor& total, Sections sections) {
  if (sections.count == 1) return total;
  return empty(total.shape().with(0, sections.count * total.dim(0)), total.dtype(), total.device());
}

Index blocks(const Tensor& rows, Sections sections) {
  return rows.dim(0) * rows.dim(1) * tiles(static_cast<int>(rows.dim(2)), kBlockRows) * sections.count;
}

}  // namespace

void attention_grad_tensor_core(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                const Tensor& v, const AttentionOutput& forward, const Mask& keys,
                                const AttentionOptions& options, AttentionGrads& grads) {
  const Sections of_keys(q, k, options.causal), of_queries(k, q, options.causal);
  Tensor dq = parts_of(grads.dq, of_keys), dk = parts_of(grads.dk, of_queries), dv = parts_of(grads.dv, of_queries);
  Tensor delta = empty(forward.lse.shape(), q.dtype(), q.device());
  const View<const float, 3> no_dlse(nullptr, {0, 0, 0}, {0, 0, 0});
  const GradArguments args{dout.view<const float, 4>(),
                           forward.out.view<const float, 4>(),
                           q.view<const float, 4>(),
                           k.view<const float, 4>(),
                           v.view<const float, 4>(),
                           forward.lse.view<const float, 3>(),
                           forward.lse_rest.view<const float, 3>(),
                           dlse.defined() ? dlse.view<const float, 3>() : no_dlse,
                           delta.data<float>(),
                           Sight(q, k, keys, options),
                           of_keys,
                           of_queries,
                           static_cast<float>(options.scale),
                           rows_are_packed(dout, forward.out, q, k, v, dq, dk, dv),
                           dq.view<float, 4>(),
                           dk.view<float, 4>(),
                           dv.view<float, 4>()};
  visit_width(q.dim(3), v.dim(3), [&]<int W>(std::integral_constant<int, W>) {
    visit_product(precision(), [&]<class Product>(Product) {
      constexpr std::size_t kTileBytes = 4 * shared_size<float>(kTileSize<W>);
      if (q.dim(2) > 0)
        launch(attention_backward_queries<Product, W>, dim3(blocks_for("attention_grad", blocks(q, of_keys), 1)),
               dim3(kTensorThreads), kTileBytes + shared_size<float>(kBlockRows), current_stream(), args);
      if (k.dim(2) > 0)
        launch(attention_backward_keys<Product, W>,
               dim3(blocks_for("attention_grad", blocks(k, of_queries) * kKeyBlocks<W>, 1)), dim3(kTensorThreads),
               kTileBytes + shared_size<float>(2 * QueryTile::kSize), current_stream(), args);
    });
  });
  Tensor nothing = empty({0, 0, 0, 0}, q.dtype(), q.device());
  if (of_keys.count > 1) add_sections(of_keys.count, dq, grads.dq, nothing, nothing);
  if (of_queries.count > 1) add_sections(of_queries.count, dk, grads.dk, dv, grads.dv);
}

}  // namespace subquad::kernels::cuda
