// Samples that no block can hold: cyclic_job.cuh. With h = M / 2 = rows * columns and j = c + columns * a, in the place
// of one transform of the h pairs of neighbouring numbers:
//
//   columns   y[k1, c] = e^(-2 pi i c k1 / h) sum_a e^(-2 pi i a k1 / rows) x[c + columns a]
//   runs      X[k1 + rows k2] = sum_c e^(-2 pi i c k2 / columns) y[k1, c]
//
// Number k of a real sequence's spectrum comes of X[k] and X[h - k], which stand in runs k1 and rows - k1: a block that
// has both runs of all sequences multiplies spectra and transforms back. Then columns go back. Bytes that move: inputs
// once, h complex numbers per sequence written, read, written (of what comes out), read; results once.
#pragma once

#include <algorithm>

#include "subquad/core/tensor.h"
#include "subquad/kernels/circular/cyclic_job.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

template <class T>
inline constexpr Index kLongestCyclic = Index{1} << (sizeof(T) == 4 ? 21 : 19);

constexpr int kSumChunks = 128;  // sums of a long sample are cut into so many chunks, and those into kSumRows
constexpr int kSumRows = 8;
constexpr int kMeanLanes = 16;  // threads that add up the chunks of a mean

// rows >= columns, as near to each other as the factors of h allow.
struct CyclicGrid {
  int rows = 1, columns = 1;
};
constexpr CyclicGrid cyclic_grid(int h) {
  CyclicGrid grid = {1, h};
  while (grid.rows < grid.columns) {
    const int prime = grid.columns % 2 == 0 ? 2 : grid.columns % 3 == 0 ? 3 : 5;
    grid.rows *= prime;
    grid.columns /= prime;
  }
  return grid;
}

// Numbers of a column panel: the longest column (5 sqrt(h) at most) and its gaps fit.
template <class T>
inline constexpr int kColumnNumbers = (64 << 10) / static_cast<int>(sizeof(Complex<T>));

// What stands in memory between the passes.
template <class T>
struct CyclicScratch {
  Complex<T>* spectra;  // [B, kIn, D, longest h]: number c + columns * k1
  T* sums;              // [B, kMeans, kSumChunks, D]
  Index longest;        // h

  template <class Job>
  __device__ Complex<T>* line(const Job&, Index b, int s, Index feature, Index width) const {
    return spectra + ((b * Job::kIn + s) * width + feature) * longest;
  }
};

// A sample's length, and how it is cut; `mine` where this path is its.
template <class T>
struct LongSample {
  int n, length, half;
  CyclicGrid grid;
  bool mine;

  __device__ LongSample(const CyclicShape& shape, Index b)
      : n(static_cast<int>(shape.lengths[b])),
        length(n == 0 ? 2 : cyclic_length(n)),
        half(length / 2),
        grid(cyclic_grid(half)),
        mine(length > shape.longest_in_block) {}
};

// Means 0 ... kCount - 1 of the features of a block, from their chunks: kMeanLanes threads have every 16th chunk of
// one, all loads of a thread are on their way at once, and the threads' sums are added in pairs. All threads call.
template <int kCount, class T, class Job>
__device__ void load_means(const Job&, const CyclicScratch<T>& scratch, const CyclicShape& shape, Index b, Index first,
                           int n, const BlockMeans<T>& means) {
  if constexpr (kCount > 0) {
    const int thread = static_cast<int>(threadIdx.x), part = thread % kMeanLanes;
    const int at_a_time = static_cast<int>(blockDim.x) / kMeanLanes, all = kCount << means.bits;
    for (int m0 = 0; m0 < all; m0 += at_a_time) {
      const int m = m0 + thread / kMeanLanes;
      const Index q = m >> means.bits, feature = first + (m & ((1 << means.bits) - 1));
      const bool there = m < all && feature < shape.width;
      T sum = 0;
      if (there) {
        const T* const sums = scratch.sums + ((b * Job::kMeans + q) * kSumChunks + part) * shape.width + feature;
#pragma unroll
        for (int chunk = 0; chunk < kSumChunks; chunk += kMeanLanes) sum += sums[chunk * shape.width];
      }
#pragma unroll
      for (int distance = 1; distance < kMeanLanes; distance *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
      if (there && part == 0) means.memory[m] = sum / static_cast<T>(n);
    }
    __syncthreads();
  }
}

// A block per sample, chunk and 32 features, by 8 rows: each thread has every eighth position of the chunk, and warp q
// adds up the rows of the q-th sum.
template <class T, class Job, int kBegin, int kEnd>
__global__ void __launch_bounds__(kWarp* kSumRows) cyclic_sums(Job job, CyclicShape shape, CyclicScratch<T> scratch) {
  constexpr int kCount = kEnd - kBegin;
  static_assert(kCount <= kSumRows);
  const Index strips = (shape.width + kWarp - 1) / kWarp, line = blockIdx.x / strips;
  const Index b = line / kSumChunks, chunk = line % kSumChunks, first = blockIdx.x % strips * kWarp;
  const LongSample<T> sample(shape, b);
  if (!sample.mine) return;
  SharedMemory shared;
  T* const parts = shared.take<T>(kCount * kSumRows * kWarp);
  const BlockMeans<T> means = {shared.take<T>(Job::kMeans * kWarp), 5};
  const int lane = static_cast<int>(threadIdx.x) % kWarp, row = static_cast<int>(threadIdx.x) / kWarp;
  const Index each = (sample.n + kSumChunks - 1) / kSumChunks, begin = chunk * each;
  const Index end = begin + each < sample.n ? begin + each : sample.n;
  load_means<kBegin>(job, scratch, shape, b, first, sample.n, means);
  T sums[kCount] = {};
  if (first + lane < shape.width)
#pragma unroll 4
    for (Index j = begin + row; j < end; j += kSumRows)
#pragma unroll
      for (int q = 0; q < kCount; ++q) sums[q] += job.term(kBegin + q, shape.at(b, j, first + lane), means(lane));
#pragma unroll
  for (int q = 0; q < kCount; ++q) parts[(q * kSumRows + row) * kWarp + lane] = sums[q];
  __syncthreads();
  if (row >= kCount || first + lane >= shape.width) return;
  T sum = 0;
  for (int r = 0; r < kSumRows; ++r) sum += parts[(row * kSumRows + r) * kWarp + lane];
  scratch.sums[((b * Job::kMeans + kBegin + row) * kSumChunks + chunk) * shape.width + first + lane] = sum;
}

// The columns of one sequence of a sample that a block has at a time: 2^column_bits neighbours of 2^feature_bits
// neighbouring features, features first.
template <class T>
struct ColumnTile {
  int feature_bits, column_bits;
  Index features, count;  // tiles of the features, and of both

  __device__ ColumnTile(const CyclicGrid& grid, Index width) : feature_bits(0), column_bits(0) {
    const auto fits = [&](int bits) { return (panel_rows(grid.rows) << bits) <= kColumnNumbers<T> / 8 * 9; };
    while (feature_bits < 2 && (1 << feature_bits) < width && fits(feature_bits + 1)) ++feature_bits;
    while ((2 << column_bits) <= grid.columns && column_bits < 3 && fits(feature_bits + column_bits + 1)) ++column_bits;
    features = (width + (1 << feature_bits) - 1) >> feature_bits;
    count = ((grid.columns + (1 << column_bits) - 1) >> column_bits) * features;
  }
  __device__ int bits() const { return feature_bits + column_bits; }
  __device__ int feature(int lane) const { return lane & ((1 << feature_bits) - 1); }
  __device__ int column(int lane) const { return lane >> feature_bits; }
};

template <class T>
std::size_t column_shared(int means) {
  return shared_size<T>(static_cast<std::size_t>(means) * 4) +
         shared_size<Complex<T>>(Roots<T>::count(kColumnNumbers<T>)) +
         shared_size<Complex<T>>(kColumnNumbers<T> / 8 * 9);
}

// A column, of which feature, and what is known of that one.
template <class T>
struct ColumnPlace {
  Index feature;
  int column;
  typename BlockMeans<T>::OfLane mean;
};

// The passes over columns of a sample, for one sequence: tile by tile, numbers come from in(i, place), are transformed,
// and go to out(i, place, number), which are rows of the grid on the one side and numbers k1 of a column's spectrum on
// the other. A block begins with tile blockIdx.x % apart, `apart` of them from each to its next.
template <bool kBack, class T, class Job, class In, class Out>
__device__ void column_pass(const Job& job, const CyclicShape& shape, const CyclicScratch<T>& scratch, Index b,
                            const LongSample<T>& sample, unsigned apart, const In& in, const Out& out) {
  const CyclicGrid grid = sample.grid;
  const ColumnTile<T> tile(grid, shape.width);
  const Radices radices = radices_of(grid.rows);
  SharedMemory shared;
  const BlockMeans<T> means = {shared.take<T>(Job::kMeans * 4), tile.feature_bits};
  const Roots<T> roots(grid.rows, shared.take<Complex<T>>(Roots<T>::count(kColumnNumbers<T>)));
  const Panel<T> panel = {shared.take<Complex<T>>(kColumnNumbers<T> / 8 * 9), 1 << tile.bits()};
  const Lanes<1> lanes = {tile.bits()};
  for (Index t = blockIdx.x % apart; t < tile.count; t += apart) {
    const Index feature0 = (t % tile.features) << tile.feature_bits;
    const int column0 = static_cast<int>(t / tile.features) << tile.column_bits;
    load_means<Job::kMeans>(job, scratch, shape, b, feature0, sample.n, means);
    const auto place = [&](int lane) {
      return ColumnPlace<T>{feature0 + tile.feature(lane), column0 + tile.column(lane), means(tile.feature(lane))};
    };
    const auto is_real = [&](int lane) {
      return feature0 + tile.feature(lane) < shape.width && column0 + tile.column(lane) < grid.columns;
    };
    lanes.each(grid.rows, [&](int i, int lane) {
      panel.at(kBack ? panel_place(i, grid.rows, radices) : i, lane) =
          is_real(lane) ? in(i, place(lane)) : Complex<T>{0, 0};
    });
    __syncthreads();
    if constexpr (kBack)
      panel_backward(panel, lanes, roots, grid.rows, radices);
    else
      panel_forward(panel, lanes, roots, grid.rows, radices);
    lanes.each(grid.rows, [&](int i, int lane) {
      if (is_real(lane)) out(i, place(lane), panel.at(kBack ? i : panel_place(i, grid.rows, radices), lane));
    });
    __syncthreads();
  }
}

// e^(-2 pi i c k1 / h), between columns and runs.
template <class T>
__device__ Complex<T> column_turn(int column, int k1, const LongSample<T>& sample) {
  return turn<T>(static_cast<std::uint32_t>(column * k1), static_cast<std::uint32_t>(sample.half));
}

// A block per sample, sequence and part of the tiles.
template <class T, class Job>
__global__ void __launch_bounds__(kCyclicThreads, sizeof(T) == 4 ? 2 : 1)
    cyclic_columns(Job job, CyclicShape shape, CyclicScratch<T> scratch, unsigned apart) {
  const Index line = blockIdx.x / apart, b = line / Job::kIn;
  const int s = static_cast<int>(line % Job::kIn);
  const LongSample<T> sample(shape, b);
  if (!sample.mine) return;
  const CyclicGrid grid = sample.grid;
  const Continued how = job.continued(s);
  const auto numbers = [&](int a, const ColumnPlace<T>& place) {
    const auto value = [&](int j) { return job.value(s, shape.at(b, j, place.feature), place.mean); };
    const int j = 2 * (place.column + grid.columns * a);
    return Complex<T>{cyclic_number<T>(j, sample.n, sample.length, how, value),
                      cyclic_number<T>(j + 1, sample.n, sample.length, how, value)};
  };
  column_pass<false>(job, shape, scratch, b, sample, apart, numbers,
                     [&](int k1, const ColumnPlace<T>& place, Complex<T> y) {
                       scratch.line(job, b, s, place.feature, shape.width)[place.column + Index{grid.columns} * k1] =
                           y * column_turn(place.column, k1, sample);
                     });
}

// A block per sample, feature and pair of runs k1, rows - k1 (or one run that is its own partner: it is there twice and
// stored once); lane 2 s is run k1 of sequence s, lane 2 s + 1 the other.
template <class T, class Job>
__global__ void __launch_bounds__(kCyclicThreads, sizeof(T) == 4 ? 2 : 1)
    cyclic_runs(Job job, CyclicShape shape, CyclicScratch<T> scratch, int most_columns, unsigned apart) {
  const Index line = blockIdx.x / apart, b = line / shape.width, feature = line % shape.width;
  const LongSample<T> sample(shape, b);
  if (!sample.mine) return;
  const int rows = sample.grid.rows, columns = sample.grid.columns;
  const Radices radices = radices_of(columns);
  SharedMemory shared;
  const Roots<T> roots(columns, shared.take<Complex<T>>(Roots<T>::count(most_columns)));
  const Panel<T> panel = {shared.take<Complex<T>>(panel_rows(columns) * 2 * Job::kIn), 2 * Job::kIn};
  for (int k1 = static_cast<int>(blockIdx.x % apart); k1 <= rows / 2; k1 += static_cast<int>(apart)) {
    const int partner = k1 == 0 ? 0 : rows - k1;
    const auto run = [&](int lane) {
      return scratch.line(job, b, lane / 2, feature, shape.width) + Index{columns} * (lane % 2 == 0 ? k1 : partner);
    };
    for (int lane = 0; lane < 2 * Job::kIn; ++lane)
      for (int c = static_cast<int>(threadIdx.x); c < columns; c += static_cast<int>(blockDim.x))
        panel.at(c, lane) = run(lane)[c];
    __syncthreads();
    panel_forward(panel, Lanes<2 * Job::kIn>{0}, roots, columns, radices);
    Lanes<1>{0}.each(columns, [&](int k2, int) {
      const int other = k1 > 0 ? columns - 1 - k2 : k2 > 0 ? columns - k2 : 0;  // rows * columns - k, in its run
      const int low = panel_place(k2, columns, radices), high = panel_place(other, columns, radices);
      const Complex<T> w =
          turn<T>(static_cast<std::uint32_t>(k1 + rows * k2), static_cast<std::uint32_t>(sample.length));
      SpectrumPair<T> x[Job::kIn], y[Job::kOut];
#pragma unroll
      for (int s = 0; s < Job::kIn; ++s) x[s] = unpacked(panel.at(low, 2 * s), panel.at(high, 2 * s + 1), w);
      job.product(x, y);
#pragma unroll
      for (int s = 0; s < Job::kOut; ++s) {
        const SpectrumPair<T> z = packed(y[s], w);
        panel.at(low, 2 * s) = z.low;
        panel.at(high, 2 * s + 1) = z.high;
      }
    });
    __syncthreads();
    panel_backward(panel, Lanes<2 * Job::kOut>{0}, roots, columns, radices);
    for (int lane = 0; lane < 2 * Job::kOut; ++lane) {
      if (lane % 2 == 1 && partner == k1) continue;
      for (int c = static_cast<int>(threadIdx.x); c < columns; c += static_cast<int>(blockDim.x))
        run(lane)[c] = panel.at(c, lane);
    }
    __syncthreads();
  }
}

// A block per sample, result and part of the tiles; those of the first result also write the zeros behind the sample.
template <class T, class Job>
__global__ void __launch_bounds__(kCyclicThreads, sizeof(T) == 4 ? 2 : 1)
    cyclic_columns_back(Job job, CyclicShape shape, CyclicScratch<T> scratch, unsigned apart) {
  const Index line = blockIdx.x / apart, b = line / Job::kOut;
  const int s = static_cast<int>(line % Job::kOut);
  const LongSample<T> sample(shape, b);
  if (!sample.mine) return;
  if (s == 0) {
    const Index all = (shape.positions - sample.n) * shape.width, from = shape.at(b, sample.n, 0);
    for (Index e = Index{blockIdx.x % apart} * blockDim.x + threadIdx.x; e < all; e += Index{apart} * blockDim.x)
      job.zero(from + e);
  }
  const CyclicGrid grid = sample.grid;
  const T scale = job.scale(sample.n) / static_cast<T>(4 * sample.length);  // as in cyclic_in_block
  const auto numbers = [&](int k1, const ColumnPlace<T>& place) {
    return scratch.line(job, b, s, place.feature, shape.width)[place.column + Index{grid.columns} * k1] *
           conjugate(column_turn(place.column, k1, sample));
  };
  column_pass<true>(job, shape, scratch, b, sample, apart, numbers,
                    [&](int a, const ColumnPlace<T>& place, Complex<T> v) {
                      const int j = 2 * (place.column + grid.columns * a);
                      if (j >= sample.n) return;
                      const Index feature = place.feature, at = shape.at(b, j, feature);
                      if (s == 0 && j == 0) finish_sample(job, b * shape.width + feature, sample.n, place.mean);
                      job.finish(s, at, feature, v.re * scale, place.mean);
                      if (j + 1 < sample.n) job.finish(s, at + shape.width, feature, v.im * scale, place.mean);
                    });
}

// `longest`: of the transforms of all samples.
template <class T, class Job>
void launch_long(const char* op, const Job& job, const CyclicShape& shape, const Tensor& like, int longest) {
  const Index batch = like.dim(0), width = shape.width, half = longest / 2;
  Tensor spectra = empty({batch, Job::kIn, width, 2 * half}, like.dtype(), like.device(), op);
  Tensor sums = empty({batch, Job::kMeans, kSumChunks, width}, like.dtype(), like.device(), op);
  const CyclicScratch<T> scratch = {reinterpret_cast<Complex<T>*>(spectra.data<T>()), sums.data<T>(), half};
  if constexpr (Job::kMeans > 0) {
    const auto add_up = [&]<int kBegin, int kEnd>(std::integral_constant<int, kBegin>,
                                                  std::integral_constant<int, kEnd>) {
      const std::size_t bytes =
          shared_size<T>((kEnd - kBegin) * kSumRows * kWarp) + shared_size<T>(Job::kMeans * kWarp);
      launch(cyclic_sums<T, Job, kBegin, kEnd>,
             dim3(blocks_for(op, batch * kSumChunks * ((width + kWarp - 1) / kWarp), 1)), dim3(kWarp * kSumRows), bytes,
             current_stream(), job, shape, scratch);
    };
    using Zero = std::integral_constant<int, 0>;
    using First = std::integral_constant<int, Job::kFirst>;
    add_up(Zero(), First());
    if constexpr (Job::kFirst < Job::kMeans) add_up(First(), std::integral_constant<int, Job::kMeans>());
  }
  Index columns = 1;  // the most of any sample
  while ((columns + 1) * (columns + 1) <= half) ++columns;
  // Blocks per line: a few waves of a large device altogether, no more than there can be tiles or pairs of runs.
  const auto start = [&](auto kernel, Index lines, Index most, std::size_t bytes, auto... more) {
    constexpr Index kBlocks = 16 * 132;
    const auto apart = static_cast<unsigned>(std::clamp<Index>(kBlocks / lines, 1, most));
    launch(kernel, dim3(blocks_for(op, lines * apart, 1)), dim3(kCyclicThreads), bytes, current_stream(), job, shape,
           scratch, more..., apart);
  };
  start(cyclic_columns<T, Job>, batch * Job::kIn, columns * width, column_shared<T>(Job::kMeans));
  start(cyclic_runs<T, Job>, batch * width, columns,
        shared_size<Complex<T>>(Roots<T>::count(static_cast<int>(columns))) +
            shared_size<Complex<T>>(static_cast<std::size_t>(panel_rows(static_cast<int>(columns))) * 2 * Job::kIn),
        static_cast<int>(columns));
  start(cyclic_columns_back<T, Job>, batch * Job::kOut, columns * width, column_shared<T>(Job::kMeans));
}

}  // namespace subquad::kernels::cuda
