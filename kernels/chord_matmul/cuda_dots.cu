// dweights: products of rows of a gradient with the rows of values that their links address.
#include "subquad/kernels/chord_matmul/cuda_products.h"
#include "subquad/kernels/chord_matmul/cuda_rows.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kMostThreads = 256;

// Each lane of a group of kLanes has kValues partial sums; afterwards lane l has the sums over the group of its values
// l kValues / kLanes and on, in v[0] and on. A tree: half of the values go to the other half of the lanes each time.
template <int kValues, int kLanes, class T>
__device__ void sum_across(T* v) {
  if constexpr (kLanes > 1) {
    constexpr int kHalf = kValues / 2;
    const bool upper = (threadIdx.x & (kLanes / 2)) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const T mine = upper ? v[kHalf + i] : v[i], theirs = upper ? v[i] : v[kHalf + i];
      v[i] = mine + __shfl_xor_sync(kWholeWarp, theirs, kLanes / 2);
    }
    sum_across<kHalf, kLanes / 2>(v);
  }
}

template <class T>
struct DotRows {
  LinkTable links;
  const T *from, *froms, *ups, *up;
  T* dweights;
  Index row;  // L
  Lengths lengths;
  int positions, rows_of_block;
  Index batch, blocks_of_sample, width;
};

// Block (factor, sample, tile of rows); kLanes lanes share a row of the gradient and go through up to 16 links at a
// time, whose sums then meet in a tree. Far rows come from L2: N L D numbers per factor and sample.
template <class T, int N, int kLanes>
__global__ void chord_dot_rows(DotRows<T> d) {
  constexpr int kValues = 16, kRows = kWarp / kLanes;
  SharedMemory shared;
  const Index tile = blockIdx.x % d.blocks_of_sample, sample = blockIdx.x / d.blocks_of_sample;  // (f, b)
  const int f = static_cast<int>(sample / d.batch);
  const Index b = sample % d.batch, numbers = d.positions * d.width;
  const int n = static_cast<int>(d.lengths[b]);
  const BlockLinks block(d.links, n, shared);
  __syncthreads();
  const SampleLinks links = block.of(f);
  const T* const from = f == 0 ? d.from + b * numbers : d.froms + ((f - 1) * d.batch + b) * numbers;
  const T* const up = f + 1 == d.links.factors ? d.up + b * numbers : d.ups + (f * d.batch + b) * numbers;

  const int lane = static_cast<int>(threadIdx.x) % kLanes, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int begin = static_cast<int>(tile) * d.rows_of_block;
  const int end = begin + d.rows_of_block < d.positions ? begin + d.rows_of_block : d.positions;
  for (int first = begin + warp * kRows; first < end; first += warps * kRows) {
    const int row = first + static_cast<int>(threadIdx.x) % kWarp / kLanes;
    T* const to = d.dweights + (sample * d.positions + row) * d.row + d.links.first;
    for (int group = 0; group < d.links.count; group += kValues) {
      T sums[kValues] = {};
      for (Index c = lane * N; row < n && c < d.width; c += kLanes * N) {
        const Pack<T, N> mine = load_pack<N>(up + row * d.width + c);
#pragma unroll
        for (int k = 0; k < kValues; ++k) {
          if (group + k >= d.links.count) break;
          const int column = links.column(row, links.step[group + k]);
          if (column < 0) continue;
          const Pack<T, N> other = load_pack<N>(from + column * d.width + c);
#pragma unroll
          for (int i = 0; i < N; ++i) sums[k] += mine.at[i] * other.at[i];
        }
      }
      sum_across<kValues, kLanes>(sums);
      if (row < end)
#pragma unroll
        for (int i = 0; i < kValues / kLanes; ++i) {
          const int k = group + lane * (kValues / kLanes) + i;
          if (k < d.links.count) to[k] = sums[i];
        }
    }
  }
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void dot_rows(const ChainArguments& chain, Index first, const Dots& dots, Tensor& dweights) {
  constexpr Index kBlocks = 1056;  // four for each of two that a multiprocessor of a large device has at a time
  constexpr int kMostRows = 128;
  const Index factors = dweights.dim(0), batch = dots.up.dim(0), positions = dots.up.dim(1), width = dots.up.dim(2);
  int rows = 16;
  while (rows < kMostRows && factors * batch * positions / (2 * rows) >= kBlocks) rows *= 2;
  const Index blocks = (positions + rows - 1) / rows;
  const auto of_table = [&](const LinkTable& links) {
    visit_packs(
        "chord_matmul_grad", width,
        [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
          const DotRows<T> args{links,
                                dots.from.data<T>(),
                                data_or_null<T>(dots.froms),
                                data_or_null<T>(dots.ups),
                                dots.up.data<T>(),
                                dweights.data<T>(),
                                dweights.dim(3),
                                Lengths(chain.mask, positions),
                                static_cast<int>(positions),
                                rows,
                                batch,
                                blocks,
                                width};
          const bool narrow = width <= 8 * N;
          const auto kernel = narrow ? chord_dot_rows<T, N, 8> : chord_dot_rows<T, N, 16>;
          const int threads = threads_for(std::min<Index>(rows, positions), narrow ? 3 : 4, kMostThreads);
          launch(kernel, dim3(blocks_for("chord_matmul_grad", factors * batch * blocks, 1)),
                 dim3(static_cast<unsigned>(threads)), BlockLinks::shared_bytes(links), current_stream(), args);
        },
        dots.from, dots.froms, dots.ups, dots.up);
  };
  if (factors == 1) return for_tables(chain.links[static_cast<std::size_t>(first)], false, of_table);
  of_table(table_of(chain.links));
}

}  // namespace subquad::kernels::cuda
