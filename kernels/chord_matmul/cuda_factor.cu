// One factor in one launch.
#include "subquad/kernels/chord_matmul/cuda_products.h"
#include "subquad/kernels/chord_matmul/cuda_rows.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kMostThreads = 256;
constexpr int kGroupPitch = kGroup + 1;            // odd: rows start in different banks
constexpr int kTileWeights = kWarp * kGroupPitch;  // of a warp

template <class T>
struct Factor {
  LinkTable links;
  const T* weights;
  Index sample, row;  // distances of weights
  const T* in;
  const T *start, *more;  // [B, N, D] that the sums begin with; null: none
  T* total;               // [B, N, D], to which `in` is added; null: none
  bool total_begins;      // it is `in`
  T* out;
  Lengths lengths;
  int positions, rows_of_block, across_log;
  Index blocks_of_sample, width;
};

// The warp's tile [rows][kGroupPitch] becomes the weights of links [group, group + kGroup) of rows from `first` on:
// neighbouring lanes take neighbouring links of a row. The whole warp calls.
template <WeightRows kOf, class T>
__device__ void stage_weights(const T* weights, Index weights_of_row, const SampleLinks& links, int group, int count,
                              int first, const RowLanes& lanes, T* tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  __syncwarp();
#pragma unroll 4
  for (int e = lane; e < lanes.rows * kGroup; e += kWarp) {
    const int row = first + e / kGroup, link = group + e % kGroup;
    if (link >= count || row >= links.n) continue;
    const int column = links.column(row, links.step[link]);
    const int from = kOf == WeightRows::own ? row : column;
    tile[e / kGroup * kGroupPitch + e % kGroup] = column < 0 ? T(0) : weights[from * weights_of_row + link];
  }
  __syncwarp();
}

// Block (sample, tile of rows), a warp per 32 / across rows at a time, neighbouring lanes on neighbouring packs of a
// row. Their weights are first brought together in shared memory. Near rows come from L1, far ones from L2: in all N L
// D numbers per sample, beside N (L + 2 D) that are new.
template <class T, int N, WeightRows kOf>
__global__ void chord_factor_rows(Factor<T> f) {
  SharedMemory shared;
  const Index b = blockIdx.x / f.blocks_of_sample;
  const int begin = static_cast<int>(blockIdx.x % f.blocks_of_sample) * f.rows_of_block;
  const int end = begin + f.rows_of_block < f.positions ? begin + f.rows_of_block : f.positions;
  const int n = static_cast<int>(f.lengths[b]), count = f.links.count;
  const BlockLinks block_links(f.links, n, shared);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  T* const tile = shared.take<T>(warps * kTileWeights) + warp * kTileWeights;
  __syncthreads();
  const SampleLinks links = block_links.of(0);
  const Index sample = b * f.positions * f.width;
  const T* const in = f.in + sample;
  const T* const weights = f.weights + b * f.sample + f.links.first;
  const RowLanes lanes(f.across_log);
  for (int first = begin + warp * lanes.rows; first < end; first += warps * lanes.rows) {
    const int row = first + lanes.row;
    for (Index c = 0; c < f.width; c += N << f.across_log) {
      const Index column = c + lanes.pack * N, at = row * f.width + column;
      const bool mine = row < end && column < f.width;
      Pack<T, N> sum = {};
      if (mine && row < n) {
        if (f.start != nullptr) sum = load_pack<N>(f.start + sample + at);
        if (f.more != nullptr) sum = added(sum, load_pack<N>(f.more + sample + at));
        if (f.total != nullptr) {
          Pack<T, N> total = load_pack<N>(in + at);
          if (!f.total_begins) total = added(load_pack<N>(f.total + sample + at), total);
          store_pack(f.total + sample + at, total);
        }
      }
      for (int group = 0; first < n && group < count; group += kGroup) {
        stage_weights<kOf>(weights, f.row, links, group, count, first, lanes, tile);
        if (!mine || row >= n) continue;
        const int links_here = count - group < kGroup ? count - group : kGroup;
#pragma unroll 4
        for (int k = 0; k < links_here; ++k) {
          const int linked = links.column(row, links.step[group + k]);
          if (linked >= 0)
            add_weighted(sum, tile[lanes.row * kGroupPitch + k], load_pack<N>(in + linked * f.width + column));
        }
      }
      if (mine) store_pack(f.out + sample + at, sum);
    }
  }
}

// Rows of a block: so many that a large device has two blocks for each of its multiprocessors, if there are, and not
// more than L1 holds.
int rows_of_block(Index rows, int rows_at_a_time) {
  constexpr Index kBlocks = 264;
  constexpr int kMostTimes = 8;
  int times = 1;
  while (times < kMostTimes && rows / (2 * times * rows_at_a_time) >= kBlocks) times *= 2;
  return times * rows_at_a_time;
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void multiply_factor(const Way& way, Index step, const Tensor& in, Tensor& total, Tensor& out) {
  const ChainArguments& chain = way.chain;
  const Index batch = in.dim(0), positions = in.dim(1), width = in.dim(2), m = way.factor(step);
  const bool last = step + 1 == way.factors(), fixed = chain.residual == MixResidual::fixed;
  const Tensor weights = chain.weights.select(0, m);  // [B, N, L]
  Tensor start, more;
  if (chain.residual == MixResidual::running || (fixed && way.back && last)) start = in;
  if (fixed && !way.back) start = chain.values;
  if (fixed && way.back && last && step > 0) more = total;
  Tensor sum = fixed && way.back && !last ? total : Tensor();
  visit_packs(
      "chord_matmul", width,
      [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
        const int across_log = across_log_of((width + N - 1) / N);
        const int threads = threads_for(positions, across_log, kMostThreads);
        const int rows = rows_of_block(batch * positions, threads >> across_log);
        const Index blocks = (positions + rows - 1) / rows;
        for_tables(chain.links[static_cast<std::size_t>(m)], way.back, [&](const LinkTable& links) {
          const bool begins = links.first == 0;  // further links are added to what is there
          const Factor<T> factor{links,
                                 weights.data<T>(),
                                 weights.strides()[0],
                                 weights.strides()[1],
                                 in.data<T>(),
                                 begins ? data_or_null<T>(start) : out.data<T>(),
                                 begins ? data_or_null<T>(more) : nullptr,
                                 begins && sum.defined() ? sum.data<T>() : nullptr,
                                 step == 0,
                                 out.data<T>(),
                                 Lengths(chain.mask, positions),
                                 static_cast<int>(positions),
                                 rows,
                                 across_log,
                                 blocks,
                                 width};
          const auto kernel =
              way.back ? chord_factor_rows<T, N, WeightRows::mirrored> : chord_factor_rows<T, N, WeightRows::own>;
          launch(kernel, dim3(blocks_for("chord_matmul", batch * blocks, 1)), dim3(static_cast<unsigned>(threads)),
                 BlockLinks::shared_bytes(links) +
                     shared_size<T>(static_cast<std::size_t>(threads / kWarp * kTileWeights)),
                 current_stream(), factor);
        });
      },
      in, start, more, sum, out);
}

}  // namespace subquad::kernels::cuda
