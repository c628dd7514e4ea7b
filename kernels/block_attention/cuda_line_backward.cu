#include "subquad/kernels/block_attention/cuda_line_tile.cuh"

// Two kernels, each of which owns what it writes: one owns queries and makes dq and delta, the other owns tokens or
// summaries and makes dk and dv.
namespace subquad::kernels::cuda {
namespace {

// Whether the fragments of both own tensors fit into registers beside the gradients.
template <class Product, int W>
constexpr bool kKeepKeys = W <= (std::is_same_v<Product, Bf16Product> ? 64 : 32);

// Blocks for the same keys: one makes dk and dv, or, where both do not fit into registers, one makes either.
template <class Product, int W>
constexpr int kKeyBlocks =
    !std::is_same_v<Product, Fp32Product> && W <= (std::is_same_v<Product, Bf16Product> ? 64 : 32) ? 1 : 2;

// Every query may see a summary, so that its owners are few and walk far: they share the queries in chunks of this
// many, cut by position alone so that padding changes no bit, whose sums are added in order. Short segments have many
// summaries, which are owners enough: longer chunks keep the sums from outgrowing q.
int chunk_queries(int segment) {
  constexpr int kFewest = 512;
  return kFewest * std::max(1, kFewest / std::max(segment, 1));  // a window of 0 has no summaries
}

struct GradArguments {
  View<const float, 4> dout, out, q, k, v, summary_k, summary_v;
  View<const float, 3> lse, lse_rest, dlse;  // dlse may have no data
  Alive alive;
  LineSights sights;
  float scale;
  bool packed;
  View<float, 3> delta;
  View<float, 4> dq, dk, dv;
  View<float, 4> summary_dk, summary_dv;  // [chunks B, H, S, .]
  int chunk;                              // queries

  __device__ RowFormat format() const { return {static_cast<int>(q.dim(3)), packed}; }
  __device__ RowFormat value_format() const { return {static_cast<int>(v.dim(3)), packed}; }
};

// Weight of a pair that sees each other, rest to base 2. 1 at most, whatever forward results the caller hands in; keeps
// a NaN.
__device__ float line_weight(float logit, float lse, float rest) {
  const float log2_p = (logit - lse) * kLog2E - rest;
  return fast_exp2(log2_p > 0 ? 0.0f : log2_p);
}

// Four lanes share a row: its product with another one of the same width.
__device__ float dot_of_row(const float* a, const float* b, int width) {
  float sum = 0;
  for (int c = Lane().t; c < width; c += 4) sum += a[c] * b[c];
  sum += __shfl_xor_sync(kWholeWarp, sum, 1);
  return sum + __shfl_xor_sync(kWholeWarp, sum, 2);
}

// A block owns 64 neighbouring queries of a head and walks over the tiles of tokens and summaries
// that any of them sees, copying the next tile while it works on one:
//
//   p = e^(q k^T - lse)     ds = p (dout v^T - delta)     dq += ds k
template <class Product, int W>
__global__ void __launch_bounds__(kTensorThreads, kLineBlocks<W>)
    block_attention_line_grad_queries(GradArguments args) {
  SharedMemory shared;
  const LinePlace place(args.q.dim(1), tiles(args.sights.count, kLineRows));
  const int b = place.b, h = place.h, first = place.tile * kLineRows;
  const Alive::Sample alive = args.alive.sample(b);
  const EntryTiles<W> entries(shared, args, b, h);
  RowSight* const sights = shared.take<RowSight>(kLineRows);
  const RowFormat format = args.format(), value_format = args.value_format();
  const Lane lane;

  const LineRows q = LineRows::of(args.q, b, h), dout = LineRows::of(args.dout, b, h);
  const LineRows out = LineRows::of(args.out, b, h);
  float lse[2] = {}, rest[2] = {}, delta[2] = {};
  const float *q_row[2] = {}, *dout_row[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane.row(first, 1, 0, half);
    const bool counts = alive.query(i) && args.lse(b, h, i) != -INFINITY;
    if (lane.t == 0) sights[i - first] = counts ? RowSight::of_query(args.sights, i) : RowSight::none();
    const int safe = counts ? i : 0;
    const float dot = dot_of_row(dout.row(safe), out.row(safe), counts ? value_format.width : 0);
    if (!counts) continue;
    q_row[half] = q.row(i);
    dout_row[half] = dout.row(i);
    lse[half] = args.lse(b, h, i);
    rest[half] = args.lse_rest(b, h, i) * kLog2E;
    delta[half] = args.dlse.data() == nullptr ? dot : dot - args.dlse(b, h, i);
  }
  OwnRows<Product, W, (W <= 64)> queries[1], douts[1];
  queries[0].set(q_row[0], q_row[1], format, args.scale);
  douts[0].set(dout_row[0], dout_row[1], value_format, 1.0f);

  Sums<1, W> dq = {};
  const bool any = __syncthreads_or(q_row[0] != nullptr || q_row[1] != nullptr) != 0;
  const EntryWalk walk(args.sights, alive, first, any);
  int stage = 0;
  EntryTile tile = walk.begin();
  entries.copy(tile, stage, format, value_format);
  while (tile.bits != 0) {
    const EntryTile next = walk.after(tile);
    entries.copy(next, 1 - stage, format, value_format);
    copy_async_wait<1>();
    __syncthreads();

    const float* const keys = entries.keys(stage);
    Logits<1> ds, dp;
    multiply_rows<Product, Queries::left>(ds, queries, keys, 1.0f);
    multiply_rows<Product, Queries::left>(dp, douts, entries.values(stage), 1.0f);
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        ds[0][n][e] = line_weight(ds[0][n][e], lse[e / 2], rest[e / 2]) * (dp[0][n][e] - delta[e / 2]);
#pragma unroll
    for (int half = 0; half < 2; ++half) hide(ds[0], half, sights[lane.row(0, 1, 0, half)].entries(tile), 0.0f);
    multiply_columns<Product, W>(dq, ds, keys);

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = 1 - stage;
  }

  const HeadRows<float> dq_rows(args.dq, b, h);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane.row(first, 1, 0, half);
    if (i >= args.sights.sight.queries) continue;
    store_sums<W>(dq_rows.row(i), dq[0], half, args.scale, format);
    if (lane.t == 0) args.delta(b, h, i) = delta[half];
  }
}

// A block owns 64 tokens or 64 summaries, and walks over the tiles of queries that see any of
// them, copying the next tile while it works on one; rows of its products are keys, columns queries:
//
//   p = e^(k q^T - lse)     dv += p dout     ds = p (v dout^T - delta)     dk += ds q
template <class Product, int W>
__global__ void __launch_bounds__(kTensorThreads, kLineBlocks<W>) block_attention_line_grad_rows(GradArguments args) {
  SharedMemory shared;
  float* const query_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const dout_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const numbers = shared.take<float>(2 * 3 * kTileRows);  // lse, lse_rest, delta of a tile of queries
  const LineSights& lines = args.sights;
  const int token_tiles = tiles(lines.sight.n, kLineRows);
  const int summaries = lines.sight.tables == 0 ? 0 : lines.sight.summaries;
  const int summary_tiles = tiles(summaries, kLineRows), chunks = tiles(lines.sight.n, args.chunk);
  const LinePlace place(args.q.dim(1), token_tiles + summary_tiles * chunks, kKeyBlocks<Product, W>);
  const bool makes_dv = kKeyBlocks<Product, W> == 1 || blockIdx.x % 2 == 0,
             makes_dk = kKeyBlocks<Product, W> == 1 || !makes_dv;
  const int b = place.b, h = place.h;
  const bool of_summaries = place.tile >= token_tiles;
  const int chunk = of_summaries ? (place.tile - token_tiles) / summary_tiles : 0;
  const int first = (of_summaries ? (place.tile - token_tiles) % summary_tiles : place.tile) * kLineRows;
  const int end_of_rows = of_summaries ? summaries : lines.sight.n;
  const Alive::Sample alive = args.alive.sample(b);
  LineRows* const sources = shared.take<LineRows>(5);
  RowSight* const sights = shared.take<RowSight>(kLineRows);
  if (threadIdx.x == 0) {
    sources[0] = LineRows::of(args.q, b, h);
    sources[1] = LineRows::of(args.dout, b, h);
    sources[2] = LineRows::of(args.lse, b, h);
    sources[3] = LineRows::of(args.lse_rest, b, h);
    sources[4] = {&args.delta(b, h, 0), args.delta.stride(2)};
  }
  const LineRows k = LineRows::of(of_summaries ? args.summary_k : args.k, b, h);
  const LineRows v = LineRows::of(of_summaries ? args.summary_v : args.v, b, h);
  const RowFormat format = args.format(), value_format = args.value_format();
  const Lane lane;

  const float *k_row[2] = {}, *v_row[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = lane.row(first, 1, 0, half);
    RowSight sight = RowSight::none();
    if (r < end_of_rows && alive.row(of_summaries ? 1 : 0, r)) {
      k_row[half] = k.row(r);
      v_row[half] = v.row(r);
      sight.partners = of_summaries ? lines.summary_queries(r) : lines.queries(r);
      if (of_summaries) sight.others = lines.hidden_queries(r);
    }
    if (lane.t == 0) sights[r - first] = sight;
  }
  OwnRows<Product, W, kKeepKeys<Product, W>> keys[1], values[1];
  keys[0].set(k_row[0], k_row[1], format, 1.0f);
  values[0].set(v_row[0], v_row[1], value_format, 1.0f);

  const int last = first + kLineRows < end_of_rows ? first + kLineRows - 1 : end_of_rows - 1;
  const bool any = __syncthreads_or(k_row[0] != nullptr || k_row[1] != nullptr) != 0;
  int begin = (of_summaries ? lines.summary_queries(first) : lines.queries(first)).begin;
  int end = any ? (of_summaries ? lines.summary_queries(last) : lines.queries(last)).end : 0;
  if (of_summaries) {
    begin = std::max(begin, chunk * args.chunk);
    end = std::min(end, (chunk + 1) * args.chunk);
  }

  struct Tile {
    int first;
    unsigned bits;
  };
  const auto next_tile = [&](int from) -> Tile {  // whole warps call
    for (; from < end; from += kTileRows) {
      const int u = from + static_cast<int>(threadIdx.x) % kWarp;
      if (const unsigned bits = __ballot_sync(kWholeWarp, u < end && alive.query(u))) return {from, bits};
    }
    return {end, 0};
  };
  const auto copy = [&](const Tile& tile, int stage) {
    copy_line_rows<W>(sources[0], tile.first, tile.bits, format, query_tiles + stage * kTileSize<W>);
    copy_line_rows<W>(sources[1], tile.first, tile.bits, value_format, dout_tiles + stage * kTileSize<W>);
    const int r = static_cast<int>(threadIdx.x);
    if (r < kTileRows && tile.bits != 0) {
      const bool valid = (tile.bits >> r & 1) != 0;
      const int i = valid ? tile.first + r : 0;
      float* const to = numbers + stage * 3 * kTileRows + r;
      for (int x = 0; x < 3; ++x) copy_async_4(to + x * kTileRows, sources[2 + x].row(i), valid);
    }
    copy_async_commit();
  };

  Sums<1, W> sums[3 - kKeyBlocks<Product, W>] = {}, &dv = sums[0], &dk = sums[2 - kKeyBlocks<Product, W>];
  int stage = 0;
  Tile tile = next_tile(begin / kTileRows * kTileRows);
  copy(tile, stage);
  while (tile.bits != 0) {
    const Tile next = next_tile(tile.first + kTileRows);
    copy(next, 1 - stage);
    copy_async_wait<1>();
    __syncthreads();

    const float* const queries = query_tiles + stage * kTileSize<W>;
    const float* const douts = dout_tiles + stage * kTileSize<W>;
    const float *const lse = numbers + stage * 3 * kTileRows, *const rest = lse + kTileRows,
                       *const delta = rest + kTileRows;
    Logits<1> p, ds;
    multiply_rows<Product, Queries::right>(p, keys, queries, args.scale);
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = 8 * n + 2 * lane.t + e % 2;
        p[0][n][e] = line_weight(p[0][n][e], lse[i], rest[i] * kLog2E);
      }
#pragma unroll
    for (int half = 0; half < 2; ++half)
      hide(p[0], half, sights[lane.row(0, 1, 0, half)].queries(tile.first, tile.bits), 0.0f);

    if (makes_dk) {
      multiply_rows<Product, Queries::right>(ds, values, douts, 1.0f);
#pragma unroll
      for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          ds[0][n][e] = p[0][n][e] * (ds[0][n][e] - delta[8 * n + 2 * lane.t + e % 2]);
        }
      multiply_columns<Product, W>(dk, ds, queries);
    }
    if (makes_dv) {
      multiply_columns<Product, W>(dv, p, douts);
    }

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = 1 - stage;
  }

  const Index sample = b + chunk * args.q.dim(0);
  const HeadRows<float> dk_rows(of_summaries ? args.summary_dk : args.dk, sample, h);
  const HeadRows<float> dv_rows(of_summaries ? args.summary_dv : args.dv, sample, h);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = lane.row(first, 1, 0, half);
    if (r >= end_of_rows) continue;
    if (makes_dk) store_sums<W>(dk_rows.row(r), dk[0], half, args.scale, format);
    if (makes_dv) store_sums<W>(dv_rows.row(r), dv[0], half, 1.0f, value_format);
  }
}

// A thread per element: to[b, h, s, e] = sum over chunks of parts[chunk, b, h, s, e], in order.
constexpr int kSumThreads = 128;

__global__ void block_attention_sum_chunks(const float* parts, int chunks, View<float, 4> to) {
  const Index i = Index{blockIdx.x} * kSumThreads + threadIdx.x, rows = to.dim(2), width = to.dim(3);
  const Index size = to.dim(0) * to.dim(1) * rows * width;
  if (i >= size) return;
  float sum = parts[i];
  for (int chunk = 1; chunk < chunks; ++chunk) sum += parts[chunk * size + i];
  to(i / width / rows / to.dim(1), i / width / rows % to.dim(1), i / width % rows, i % width) = sum;
}

// Where the chunks of a summary's gradient go: into the gradient itself where there is one chunk.
Tensor chunk_sums(const Tensor& grad, Index chunks) {
  if (chunks == 1) return grad;
  return empty({chunks * grad.dim(0), grad.dim(1), grad.dim(2), grad.dim(3)}, kFloat32, grad.device(),
               "block_attention_grad");
}

void add_chunks(const Tensor& parts, Index chunks, Tensor& grad) {
  if (chunks == 1 || grad.size() == 0) return;
  launch(block_attention_sum_chunks, dim3(blocks_for("block_attention_grad", grad.size(), kSumThreads)),
         dim3(kSumThreads), 0, current_stream(), parts.data<float>(), static_cast<int>(chunks), grad.view<float, 4>());
}

}  // namespace

void block_attention_grad_lines(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                const Tensor& v, const std::vector<Summaries>& summaries,
                                const BlockAttentionOutput& forward, const Alive& alive,
                                const BlockAttentionOptions& options, BlockAttentionGrads& grads) {
  constexpr const char* kOp = "block_attention_grad";
  const Summaries table = summaries.empty() ? Summaries{k, v} : summaries[0];
  const int chunk = chunk_queries(alive.sight.size);
  const Index chunks = summaries.empty() ? 1 : tiles(alive.sight.n, chunk);
  Summaries dtable = summaries.empty() ? Summaries{grads.dk, grads.dv}
                                       : Summaries{chunk_sums(grads.dsummaries[0].k, chunks),
                                                   chunk_sums(grads.dsummaries[0].v, chunks)};
  Tensor delta = empty(forward.lse.shape(), kFloat32, q.device(), kOp);
  const View<const float, 3> no_dlse(nullptr, {0, 0, 0}, {0, 0, 0});
  const GradArguments args{
      dout.view<const float, 4>(),
      forward.out.view<const float, 4>(),
      q.view<const float, 4>(),
      k.view<const float, 4>(),
      v.view<const float, 4>(),
      table.k.view<const float, 4>(),
      table.v.view<const float, 4>(),
      forward.lse.view<const float, 3>(),
      forward.lse_rest.view<const float, 3>(),
      dlse.defined() ? dlse.view<const float, 3>() : no_dlse,
      alive,
      LineSights(alive.sight),
      static_cast<float>(options.scale),
      rows_are_packed(dout, q, k, v, table.k, table.v, grads.dq, grads.dk, grads.dv, dtable.k, dtable.v),
      delta.view<float, 3>(),
      grads.dq.view<float, 4>(),
      grads.dk.view<float, 4>(),
      grads.dv.view<float, 4>(),
      dtable.k.view<float, 4>(),
      dtable.v.view<float, 4>(),
      chunk};
  visit_width(q.dim(3), v.dim(3), [&]<int W>(std::integral_constant<int, W>) {
    visit_product(precision(), [&]<class Product>(Product) {
      if constexpr (kFitsRegisters<Product, W>) {
        constexpr std::size_t kBytes = 4 * shared_size<float>(kTileSize<W>) + shared_size<LineRows>(5) +
                                       shared_size<RowSight>(kLineRows) + shared_size<float>(2 * 3 * kTileRows);
        const Index heads = q.dim(0) * q.dim(1), query_tiles = tiles(args.sights.count, kLineRows);
        launch(block_attention_line_grad_queries<Product, W>, dim3(blocks_for(kOp, heads * query_tiles, 1)),
               dim3(kTensorThreads), kBytes, current_stream(), args);
        const Index row_tiles = tiles(alive.sight.n, kLineRows) +
                                (summaries.empty() ? 0 : tiles(alive.sight.summaries, kLineRows) * chunks);
        launch(block_attention_line_grad_rows<Product, W>,
               dim3(blocks_for(kOp, heads * row_tiles * kKeyBlocks<Product, W>, 1)), dim3(kTensorThreads), kBytes,
               current_stream(), args);
      }
    });
  });
  if (summaries.empty()) return;
  add_chunks(dtable.k, chunks, grads.dsummaries[0].k);
  add_chunks(dtable.v, chunks, grads.dsummaries[0].v);
}

}  // namespace subquad::kernels::cuda
