#include "subquad/kernels/attention/cuda_tensor_core.cuh"

#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_online.cuh"
#include "subquad/kernels/attention/cuda_sections.cuh"
#include "subquad/kernels/attention/cuda_tile.cuh"

namespace subquad::kernels::cuda {
namespace {

// With several sections of keys, out is what each of them sums [S B, H, Nq, Ev], lse its largest logit and lse_rest its
// sum of e^(logit - top).
struct ForwardArguments {
  View<const float, 4> q, k, v;
  Sight sight;
  Sections sections;
  float scale;
  bool packed;
  View<float, 4> out;
  View<float, 3> lse, lse_rest;
};

// Fragments of 16 queries per warp: two of them use every fragment of keys and values twice, where registers allow.
template <class Product, int W>
constexpr int kQueryTiles = W <= (std::is_same_v<Product, Fp32Product> ? 32 : 64) ? 2 : 1;
template <class Product, int W>
constexpr int kBlockQueries = kTensorWarps* kFragmentRows* kQueryTiles<Product, W>;

// Blocks per multiprocessor that registers must leave room for; 0 = ptxas may choose. Left alone it spills for a third.
template <int W>
constexpr int kMinBlocks = W == 64 ? 2 : 0;

// A block owns 128 queries of a head (64 where they are wide), whose fragments and results stay in registers, and walks
// over the tiles of keys and values that any of them sees, copying the next tile while it works on one. Causal blocks
// with many keys start first. Where queries are few and keys are many, a block has one section of the keys.
template <class Product, int W>
__global__ void __launch_bounds__(kTensorThreads, kMinBlocks<W>) attention_forward(ForwardArguments args) {
  constexpr int kTiles = kQueryTiles<Product, W>;
  SharedMemory shared;
  float* const key_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const value_tiles = shared.take<float>(2 * kTileSize<W>);
  const int block_tiles = tiles(static_cast<int>(args.q.dim(2)), kBlockQueries<Product, W>);
  const int section = static_cast<int>(blockIdx.x) % args.sections.count;
  const int block = static_cast<int>(blockIdx.x) / args.sections.count;
  const int heads = static_cast<int>(args.q.dim(1)), head = block / block_tiles;
  const int b = head / heads, h = head % heads;
  const int first = (block_tiles - 1 - block % block_tiles) * kBlockQueries<Product, W>;
  const SampleSight sight = args.sight.sample(b);
  const HeadRows<const float> q(args.q, b, h), k(args.k, b, h), v(args.v, b, h);
  const RowFormat format{static_cast<int>(args.q.dim(3)), args.packed};
  const RowFormat value_format{static_cast<int>(args.v.dim(3)), args.packed};
  const Lane lane;

  OwnRows<Product, W, true> queries[kTiles];
  int limit[kTiles][2];  // what the lane's queries see: 0 for those that are not computed
  bool any = false;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
    const float* rows[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = lane.row(first, kTiles, m, half);
      limit[m][half] = sight.query_counts(i) ? sight.limit(i) : 0;
      any = any || limit[m][half] > 0;
      rows[half] = limit[m][half] > 0 ? q.row(i) : nullptr;
    }
    queries[m].set(rows[0], rows[1], format, args.scale);
  }

  Sums<kTiles, W> out = {};
  Online<kTiles, W> online;
  const int block_end = __syncthreads_or(any) != 0 ? sight.limit(first + kBlockQueries<Product, W> - 1) : 0;
  const int end = args.sections.end(section, block_end);
  const bool idle = kTiles > 1 && __any_sync(kWholeWarp, any) == 0;  // such a warp only copies
  int stage = 0;
  SampleSight::Tile tile = sight.next_keys(args.sections.begin(section), end);
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

    if (!idle) {
      Logits<kTiles> p;
      multiply_rows<Product, Queries::left>(p, queries, key_tiles + stage * kTileSize<W>, 1.0f);
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          hide(p[m], half, tile.bits & bits_below(limit[m][half] - tile.first),
               -std::numeric_limits<float>::infinity());
      online.weigh(p, out);
      multiply_columns<Product, W>(out, p, value_tiles + stage * kTileSize<W>);
    }

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = next_stage;
  }

  const int part = section * static_cast<int>(args.q.dim(0)) + b;
  const HeadRows<float> out_rows(args.out, part, h), lse(args.lse, part, h), lse_rest(args.lse_rest, part, h);
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = online.total(m, half);
      const int i = lane.row(first, kTiles, m, half);
      if (i >= sight.query_count) continue;
      const bool whole = args.sections.count == 1;
      store_sums<W>(out_rows.row(i), out[m], half, !whole ? 1.0f : total == 0 ? 0.0f : 1 / total, value_format);
      if (lane.t != 0) continue;
      if (whole) {
        store_lse(online.top[m][half], total, lse.row(i), lse_rest.row(i));
      } else {
        *lse.row(i) = online.top[m][half];
        *lse_rest.row(i) = total;
      }
    }
}

// A warp per query, lanes along the features: what the sections have summed, relative to the largest logit of all. A
// section without keys adds nothing, not even a rounding.
__global__ void attention_join_sections(View<const float, 5> parts, View<const float, 4> tops,
                                        View<const float, 4> sums, View<float, 4> out, View<float, 3> lse,
                                        View<float, 3> lse_rest) {
  const Index row = Index{blockIdx.x} * kTensorWarps + threadIdx.x / kWarp, queries = out.dim(2), heads = out.dim(1);
  if (row >= out.dim(0) * heads * queries) return;
  const Index b = row / queries / heads, h = row / queries % heads, i = row % queries, sections = parts.dim(0);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float top = std::numeric_limits<float>::lowest();
  for (Index s = lane; s < sections; s += kWarp) top = fmaxf(top, tops(s, b, h, i));
  top = warp_max(top);
  float total = 0;
#pragma unroll 8
  for (Index s = 0; s < sections; ++s) total += fast_exp2((tops(s, b, h, i) - top) * kLog2E) * sums(s, b, h, i);
  for (Index c = lane; c < out.dim(3); c += kWarp) {
    float sum = 0;
#pragma unroll 8
    for (Index s = 0; s < sections; ++s) sum += fast_exp2((tops(s, b, h, i) - top) * kLog2E) * parts(s, b, h, i, c);
    out(b, h, i, c) = total == 0 ? 0.0f : 1 / total * sum;
  }
  if (lane == 0) store_lse(top, total, &lse(b, h, i), &lse_rest(b, h, i));
}

}  // namespace

void attention_tensor_core(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                           const AttentionOptions& options, AttentionOutput& result) {
  const Sections sections(q, k, options.causal);
  const Index batch = q.dim(0), heads = q.dim(1), queries = q.dim(2), value_width = v.dim(3);
  const bool whole = sections.count == 1;
  const Index parts_batch = sections.count * batch;
  Tensor out = whole ? result.out : empty({parts_batch, heads, queries, value_width}, q.dtype(), q.device());
  Tensor tops = whole ? result.lse : empty({parts_batch, heads, queries}, q.dtype(), q.device());
  Tensor sums = whole ? result.lse_rest : empty_like(tops);
  const ForwardArguments args{q.view<const float, 4>(),
                              k.view<const float, 4>(),
                              v.view<const float, 4>(),
                              Sight(q, k, keys, options),
                              sections,
                              static_cast<float>(options.scale),
                              rows_are_packed(q, k, v, out),
                              out.view<float, 4>(),
                              tops.view<float, 3>(),
                              sums.view<float, 3>()};
  visit_width(q.dim(3), v.dim(3), [&]<int W>(std::integral_constant<int, W>) {
    visit_product(precision(), [&]<class Product>(Product) {
      const Index blocks = batch * heads * tiles(static_cast<int>(queries), kBlockQueries<Product, W>);
      launch(attention_forward<Product, W>, dim3(blocks_for("attention", blocks * sections.count, 1)),
             dim3(kTensorThreads), 4 * shared_size<float>(kTileSize<W>), current_stream(), args);
    });
  });
  if (whole) return;
  const auto by_section = [&](const Tensor& t) {
    return t.reshape(t.rank() == 4 ? Shape{sections.count, batch, heads, queries, value_width}
                                   : Shape{sections.count, batch, heads, queries});
  };
  launch(attention_join_sections, dim3(blocks_for("attention", batch * heads * queries, kTensorWarps)),
         dim3(kTensorThreads), 0, current_stream(), by_section(out).view<const float, 5>(),
         by_section(tops).view<const float, 4>(), by_section(sums).view<const float, 4>(), result.out.view<float, 4>(),
         result.lse.view<float, 3>(), result.lse_rest.view<float, 3>());
}

}  // namespace subquad::kernels::cuda
