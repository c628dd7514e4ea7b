// All factors of a chain in one launch.
#include "subquad/core/cuda/runtime.h"
#include "subquad/kernels/chord_matmul/cuda_products.h"
#include "subquad/kernels/chord_matmul/cuda_rows.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kMostThreads = 512;

// The widest slice whose columns fit into shared memory twice and that leaves work for a large device; 0 if none fits.
// Results do not depend on it.
template <class T>
int slice_of(const ChainArguments& chain) {
  constexpr Index kBlocks = 264;
  const Index batch = chain.values.dim(0), positions = chain.values.dim(1), width = chain.values.dim(2);
  const auto memory = static_cast<Index>(properties(current_device()).shared_bytes_per_block);
  constexpr auto kBesides = static_cast<Index>(shared_size<int>(kMostOffsets));
  const auto fits = [&](int slice) {
    return 2 * static_cast<Index>(sizeof(T)) * positions * slice + kBesides <= memory;
  };
  for (const int slice : {16, 8})
    if (fits(slice) && batch * ((width + slice - 1) / slice) >= kBlocks) return slice;
  return fits(4) ? 4 : 0;
}

template <class T>
struct Chain {
  LinkTable links;       // of the factors in the order in which they are multiplied by
  const T* weights;      // [L, N] of the first of them
  Index factor, sample;  // distances of weights
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
// factor a warp makes 32 / across rows at a time. A thread asks for the weights of up to 16 links of its row at once,
// neighbouring lanes for neighbouring rows. Per sample N D numbers are read and N D written for each factor that is
// kept, and its N L weights are read once for each slice.
template <class T, int N, WeightRows kOf>
__global__ void __launch_bounds__(kMostThreads) chord_chain_slices(Chain<T> c) {
  constexpr bool kBack = kOf == WeightRows::mirrored;
  SharedMemory shared;
  const Index slices = (c.width + c.slice - 1) / c.slice;
  const Index b = blockIdx.x / slices, column = blockIdx.x % slices * c.slice;
  const Index sample = b * c.positions * c.width + column;
  const int n = static_cast<int>(c.lengths[b]);
  const BlockLinks links(c.links, n, shared);
  T* from = shared.take<T>(c.positions * c.slice);
  T* to = shared.take<T>(c.positions * c.slice);

  const RowLanes lanes(c.across_log);
  const int first_row = static_cast<int>(threadIdx.x) >> c.across_log, pack = lanes.pack * N;
  const int rows_at_a_time = static_cast<int>(blockDim.x) >> c.across_log;
  const bool mine = pack < (c.width - column < c.slice ? c.width - column : c.slice);
  for (int row = first_row; mine && row < n; row += rows_at_a_time)
    store_pack(from + row * c.slice + pack, load_pack<N>(c.in + sample + row * c.width + pack));
  __syncthreads();

  // What a row's sum begins with.
  const auto start = [&](int row, bool first, bool last) {
    const Index place = sample + row * c.width + pack;
    Pack<T, N> sum = {};
    if (c.residual == MixResidual::none) return sum;
    if (!kBack && c.residual == MixResidual::fixed) return load_pack<N>(c.in + place);
    sum = load_pack<N>(from + row * c.slice + pack);
    if (!kBack || c.residual == MixResidual::running) return sum;
    // fixed, on the way back: the sum of what all steps multiplied, which waits in `out`
    if (!first) sum = last ? added(sum, load_pack<N>(c.out + place)) : added(load_pack<N>(c.out + place), sum);
    if (last) return sum;
    store_pack(c.out + place, sum);
    return Pack<T, N>{};
  };

  for (int step = 0; step < c.links.factors; ++step) {
    const bool first = step == 0, last = step + 1 == c.links.factors;
    const SampleLinks of_step = links.of(step);
    const T* const weights = c.weights + step * c.factor + b * c.sample;
    T* const kept = last ? c.out : c.between != nullptr ? c.between + step * c.between_step : nullptr;
    for (int group = 0; group < c.links.count; group += kGroup) {  // one, of most chains
      const int count = c.links.count - group < kGroup ? c.links.count - group : kGroup;
      int steps[kGroup];
#pragma unroll
      for (int k = 0; k < kGroup; ++k) steps[k] = k < count ? of_step.step[group + k] : 0;
      for (int row = first_row; mine && row < n; row += rows_at_a_time) {
        int linked[kGroup];
        T weight[kGroup];
#pragma unroll
        for (int k = 0; k < kGroup; ++k) {
          linked[k] = k < count ? of_step.column(row, steps[k]) : -1;
          if (linked[k] >= 0)
            weight[k] = weights[Index{group + k} * c.positions + (kOf == WeightRows::own ? row : linked[k])];
        }
        T* const at = to + row * c.slice + pack;
        Pack<T, N> sum = group == 0 ? start(row, first, last) : load_pack<N>(at);
#pragma unroll
        for (int k = 0; k < kGroup; ++k)
          if (linked[k] >= 0) add_weighted(sum, weight[k], load_pack<N>(from + linked[k] * c.slice + pack));
        store_pack(at, sum);
        if (kept != nullptr && group + kGroup >= c.links.count) store_pack(kept + sample + row * c.width + pack, sum);
      }
    }
    for (int row = n + first_row; mine && kept != nullptr && row < c.positions; row += rows_at_a_time)
      store_pack(kept + sample + row * c.width + pack, Pack<T, N>{});
    __syncthreads();
    T* const done = from;
    from = to;
    to = done;
  }
}

// Weights [M, B, N, L] with the rows of a link beside each other, [M, B, L, N]; of weights that samples share one set.
Tensor turned(const Tensor& weights) {
  const Tensor all = weights.transpose(2, 3);
  if (weights.strides()[1] != 0) return all.contiguous();
  return all.slice(1, 0, 1).contiguous().expand(all.shape());
}

}  // namespace

bool chain_fits(const ChainArguments& chain) {
  if (!LinkTable::holds(chain.links)) return false;
  bool fits = false;
  visit_float("chord_chain", chain.values.dtype(), [&]<class T>(Type<T>) { fits = slice_of<T>(chain) > 0; });
  return fits;
}

void multiply_chain(const Way& way, const Tensor& in, Tensor& between, Tensor& out) {
  const ChainArguments& chain = way.chain;
  const Tensor weights = turned(chain.weights);
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
        const std::size_t bytes =
            BlockLinks::shared_bytes(links) + 2 * shared_size<T>(static_cast<std::size_t>(in.dim(1) * slice));
        const auto kernel =
            way.back ? chord_chain_slices<T, N, WeightRows::mirrored> : chord_chain_slices<T, N, WeightRows::own>;
        launch(kernel, dim3(blocks_for("chord_chain", in.dim(0) * ((width + slice - 1) / slice), 1)),
               dim3(static_cast<unsigned>(threads)), bytes, current_stream(), args);
      },
      in, between, out);
}

}  // namespace subquad::kernels::cuda
