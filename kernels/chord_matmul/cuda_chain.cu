// All factors of a chain in one launch.
#include "subquad/kernels/chord_matmul/cuda_products.h"
#include "subquad/kernels/chord_matmul/cuda_weigh.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kMostThreads = 512, kMostWarps = kMostThreads / kWarp;
constexpr Index kSharedMemory = Index{227} << 10;  // that a block may have, of compute capability 9.0

// The widest slice whose columns fit into shared memory twice and that leaves work for a large device; 0 if none fits.
template <class T>
int slice_of(const ChainArguments& chain) {
  constexpr Index kBlocks = 264;
  const Index batch = chain.values.dim(0), positions = chain.values.dim(1), width = chain.values.dim(2);
  constexpr auto kBesides =
      static_cast<Index>(shared_size<T>(kMostWarps * kTileWeights) + shared_size<int>(kMostOffsets));
  const auto fits = [&](int slice) {
    return 2 * static_cast<Index>(sizeof(T)) * positions * slice + kBesides <= kSharedMemory;
  };
  for (const int slice : {16, 8})
    if (fits(slice) && batch * ((width + slice - 1) / slice) >= kBlocks) return slice;
  return fits(4) ? 4 : 0;
}

template <class T>
struct Chain {
  LinkTable links;                  // of the factors in the order in which they are multiplied by
  const T* weights;                 // of the first of them
  Index factor, sample, row, link;  // distances of weights
  const T* in;
  T* between;  // results of the first ..., or null
  Index between_step;
  T* out;
  MixResidual residual;
  Lengths lengths;
  int positions, slice, across_log;
  Index width;
};

// Block (sample, slice of columns), whose N x slice numbers stand in shared memory twice and take turns: factor by
// factor a warp makes 32 / across rows at a time. Per sample N D numbers are read and N D written for each factor that
// is kept, and its N L weights are read once for each slice.
template <class T, int N, WeightRows kOf>
__global__ void chord_chain_slices(Chain<T> c) {
  constexpr bool kBack = kOf == WeightRows::mirrored;
  SharedMemory shared;
  const Index slices = (c.width + c.slice - 1) / c.slice;
  const Index b = blockIdx.x / slices, column = blockIdx.x % slices * c.slice;
  const Index sample = b * c.positions * c.width + column;
  const int width = static_cast<int>(c.width - column < c.slice ? c.width - column : c.slice);
  const int n = static_cast<int>(c.lengths[b]);
  const BlockLinks links(c.links, n, shared);
  T* const tile =
      shared.take<T>(static_cast<int>(blockDim.x) / kWarp * kTileWeights) + threadIdx.x / kWarp * kTileWeights;
  T* from = shared.take<T>(c.positions * c.slice);
  T* to = shared.take<T>(c.positions * c.slice);

  const RowLanes lanes(c.across_log);
  const int rows_at_a_time = static_cast<int>(blockDim.x) >> c.across_log, pack = lanes.pack * N;
  for (int row = static_cast<int>(threadIdx.x) >> c.across_log; row < n; row += rows_at_a_time)
    if (pack < width) store_pack(from + row * c.slice + pack, load_pack<N>(c.in + sample + row * c.width + pack));
  __syncthreads();

  for (int step = 0; step < c.links.factors; ++step) {
    const bool last = step + 1 == c.links.factors;
    const FactorWeights<T> factor{
        c.weights + step * c.factor + b * c.sample, c.row, c.link, links.of(step), 0, c.links.count};
    T* const kept = last ? c.out : c.between != nullptr ? c.between + step * c.between_step : nullptr;
    multiply_rows<N, kOf>(
        factor, tile, from, c.slice, 0, c.positions, width, c.across_log,
        [&](int row, Index at) {
          const Index place = sample + row * c.width + at;
          Pack<T, N> start = {};
          if (c.residual == MixResidual::none) return start;
          if (!kBack && c.residual == MixResidual::fixed) return load_pack<N>(c.in + place);
          start = load_pack<N>(from + row * c.slice + static_cast<int>(at));
          if (!kBack || c.residual == MixResidual::running) return start;
          // fixed, on the way back: the sum of what all steps multiplied, which waits in `out`
          if (step > 0)
            start = last ? added(start, load_pack<N>(c.out + place)) : added(load_pack<N>(c.out + place), start);
          if (last) return start;
          store_pack(c.out + place, start);
          return Pack<T, N>{};
        },
        [&](int row, Index at, const Pack<T, N>& sum) {
          if (kept != nullptr) store_pack(kept + sample + row * c.width + at, sum);
          if (!last && row < n) store_pack(to + row * c.slice + static_cast<int>(at), sum);
        });
    __syncthreads();
    T* const done = from;
    from = to;
    to = done;
  }
}

}  // namespace

bool chain_fits(const ChainArguments& chain) {
  if (!LinkTable::holds(chain.links)) return false;
  bool fits = false;
  visit_float("chord_chain", chain.values.dtype(), [&]<class T>(Type<T>) { fits = slice_of<T>(chain) > 0; });
  return fits;
}

void multiply_chain(const Way& way, const Tensor& transposed_weights, const Tensor& in, Tensor& between, Tensor& out) {
  const ChainArguments& chain = way.chain;
  const Tensor weights = way.back ? transposed_weights.transpose(2, 3) : chain.weights;  // [M, B, N, L]
  const Index width = in.dim(2), factor = weights.strides()[0], results = in.size();
  const LinkTable links = table_of(chain.links, way.back);
  visit_packs(
      "chord_chain", width,
      [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
        const int slice = slice_of<T>(chain);
        T* const kept = between.defined() ? between.data<T>() : nullptr;
        const Index last = way.factors() - 1;
        const Chain<T> args{links,
                            weights.data<T>() + (way.back ? last * factor : 0),
                            way.back ? -factor : factor,
                            weights.strides()[1],
                            weights.strides()[2],
                            weights.strides()[3],
                            in.data<T>(),
                            kept != nullptr && way.back ? kept + (last - 1) * results : kept,
                            way.back ? -results : results,
                            out.data<T>(),
                            chain.residual,
                            Lengths(chain.mask, in.dim(1)),
                            static_cast<int>(in.dim(1)),
                            slice,
                            across_log_of(slice / N),
                            width};
        const int threads = threads_for(in.dim(1), args.across_log, kMostThreads);
        const std::size_t bytes = BlockLinks::shared_bytes(links) +
                                  shared_size<T>(static_cast<std::size_t>(threads / kWarp * kTileWeights)) +
                                  2 * shared_size<T>(static_cast<std::size_t>(in.dim(1) * slice));
        const auto kernel =
            way.back ? chord_chain_slices<T, N, WeightRows::mirrored> : chord_chain_slices<T, N, WeightRows::own>;
        launch(kernel, dim3(blocks_for("chord_chain", in.dim(0) * ((width + slice - 1) / slice), 1)),
               dim3(static_cast<unsigned>(threads)), bytes, current_stream(), args);
      },
      in, between, out);
}

}  // namespace subquad::kernels::cuda
