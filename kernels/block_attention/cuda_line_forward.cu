#include "subquad/kernels/block_attention/cuda_line_tile.cuh"

namespace subquad::kernels::cuda {
namespace {

struct ForwardArguments {
  View<const float, 4> q, k, v, summary_k, summary_v;
  Alive alive;
  LineSights sights;
  float scale;
  bool packed;
  View<float, 4> out;
  View<float, 3> lse, lse_rest;
};

// A block owns 64 neighbouring queries of a head, whose fragments and results stay in registers,
// and walks over the tiles of tokens, then of summaries, that any of them sees, under one online softmax; the next tile
// is copied while it works on one. A segment of 64 reads each of its keys and values once.
template <class Product, int W>
__global__ void __launch_bounds__(kTensorThreads, kLineBlocks<W>) block_attention_line_queries(ForwardArguments args) {
  SharedMemory shared;
  const LinePlace place(args.q.dim(1), tiles(args.sights.count, kLineRows));
  const int b = place.b, h = place.h, first = place.tile * kLineRows;
  const Alive::Sample alive = args.alive.sample(b);
  const EntryTiles<W> entries(shared, args, b, h);
  RowSight* const sights = shared.take<RowSight>(kLineRows);
  const RowFormat format{static_cast<int>(args.q.dim(3)), args.packed};
  const RowFormat value_format{static_cast<int>(args.v.dim(3)), args.packed};
  const Lane lane;

  const LineRows q = LineRows::of(args.q, b, h);
  const float* q_row[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane.row(first, 1, 0, half);
    const bool counts = alive.query(i);
    if (counts) q_row[half] = q.row(i);
    if (lane.t == 0) sights[i - first] = counts ? RowSight::of_query(args.sights, i) : RowSight::none();
  }
  OwnRows<Product, W, true> queries[1];
  queries[0].set(q_row[0], q_row[1], format, args.scale);

  Sums<1, W> out = {};
  Online<1, W> online;
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

    Logits<1> p;
    multiply_rows<Product, Queries::left>(p, queries, entries.keys(stage), 1.0f);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      hide(p[0], half, sights[lane.row(0, 1, 0, half)].entries(tile), -std::numeric_limits<float>::infinity());
    online.weigh(p, out);
    multiply_columns<Product, W>(out, p, entries.values(stage));

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = 1 - stage;
  }

  const HeadRows<float> out_rows(args.out, b, h), lse(args.lse, b, h), lse_rest(args.lse_rest, b, h);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = online.total(0, half);
    const int i = lane.row(first, 1, 0, half);
    if (i >= args.sights.sight.queries) continue;
    store_sums<W>(out_rows.row(i), out[0], half, total == 0 ? 0.0f : 1 / total, value_format);
    if (lane.t == 0) store_lse(online.top[0][half], total, lse.row(i), lse_rest.row(i));
  }
}

}  // namespace

bool fits_lines(const Tensor& q, const Tensor& v, const BlockSight& sight, const BlockAttentionOptions& options) {
  const bool one_stretch =
      sight.kind == BlockKind::fixed || sight.kind == BlockKind::window || sight.kind == BlockKind::row;
  return one_stretch && options.dropout == 0 && q.dtype() == kFloat32 &&
         std::max(q.dim(3), v.dim(3)) <= (precision() == Precision::fp32 ? 64 : kMaxTensorCoreWidth);
}

void block_attention_lines(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                           const Alive& alive, const BlockAttentionOptions& options, BlockAttentionOutput& result) {
  const Summaries table = summaries.empty() ? Summaries{k, v} : summaries[0];
  const ForwardArguments args{q.view<const float, 4>(),
                              k.view<const float, 4>(),
                              v.view<const float, 4>(),
                              table.k.view<const float, 4>(),
                              table.v.view<const float, 4>(),
                              alive,
                              LineSights(alive.sight),
                              static_cast<float>(options.scale),
                              rows_are_packed(q, k, v, table.k, table.v, result.out),
                              result.out.view<float, 4>(),
                              result.lse.view<float, 3>(),
                              result.lse_rest.view<float, 3>()};
  visit_width(q.dim(3), v.dim(3), [&]<int W>(std::integral_constant<int, W>) {
    visit_product(precision(), [&]<class Product>(Product) {
      if constexpr (kFitsRegisters<Product, W>) {
        const Index blocks = q.dim(0) * q.dim(1) * tiles(args.sights.count, kLineRows);
        launch(block_attention_line_queries<Product, W>, dim3(blocks_for("block_attention", blocks, 1)),
               dim3(kTensorThreads), EntryTiles<W>::bytes() + shared_size<RowSight>(kLineRows), current_stream(), args);
      }
    });
  });
}

}  // namespace subquad::kernels::cuda
