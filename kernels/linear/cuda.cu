#include "subquad/kernels/linear/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;

constexpr int kMostMatrices = 4;  // of one launch

// One thread per pack of N elements of out: writes are coalesced, reads of the bias come from the cache.
template <int N, class T>
__global__ void bias_rows(const T* biases, Index distance, T* out, Index columns, Index packs_each, Index packs) {
  const Index pack = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (pack >= packs) return;
  const T* const bias = biases + pack / packs_each * distance;
  store_pack(out + pack * N, load_pack<N>(bias + pack % packs_each * N % columns));
}

// Matrices of one shape; by name, since a kernel copies parameters that it indexes to the stack.
template <class T>
struct Matrices {
  const T *first, *second, *third, *fourth;
  Index stride, rows, columns;  // distance of rows

  __device__ const T* operator[](unsigned i) const {
    const T* const lower = i == 0 ? first : second;
    const T* const upper = i == 2 ? third : fourth;
    return i < 2 ? lower : upper;
  }
};

// sums [S, chunks, columns]: of each column over `chunk` rows. Block (tile of columns, chunk, matrix); thread (i, j)
// adds rows j, j + blockDim.y, ... of N neighbouring columns, so that each row of threads reads a piece of one line.
// The block's sums meet in shared memory and the first row of threads adds them in order.
template <int N, class T>
__global__ void column_sums(Matrices<T> x, Index chunk, T* sums) {
  SharedMemory memory;
  T* const meeting = memory.take<T>(kThreads * N);
  const Index column = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  const Index begin = blockIdx.y * chunk, end = begin + chunk < x.rows ? begin + chunk : x.rows;
  const T* const from = x[blockIdx.z];
  Pack<T, N> sum = {};
  if (column < x.columns) {
    for (Index row = begin + threadIdx.y; row < end; row += blockDim.y) {
      const auto more = load_pack<N>(from + row * x.stride + column);
      for (int n = 0; n < N; ++n) sum.at[n] += more.at[n];
    }
  }
  store_pack(meeting + (threadIdx.y * blockDim.x + threadIdx.x) * N, sum);
  __syncthreads();
  if (threadIdx.y > 0 || column >= x.columns) return;
  for (unsigned j = 1; j < blockDim.y; ++j) {
    const auto more = load_pack<N>(meeting + (j * blockDim.x + threadIdx.x) * N);
    for (int n = 0; n < N; ++n) sum.at[n] += more.at[n];
  }
  store_pack(sums + (Index{blockIdx.z} * gridDim.y + blockIdx.y) * x.columns + column, sum);
}

template <int N, class T>
void start_sums(const Matrices<T>& x, unsigned count, Index chunk, Index chunks, T* sums) {
  const Index packs = x.columns / N;
  unsigned wide = 4;  // threads along columns: as many as there are packs, up to a warp
  while (wide < kWarp && wide < packs) wide *= 2;
  const dim3 grid(blocks_for("linear_grad_bias", packs, wide), static_cast<unsigned>(chunks), count);
  launch(column_sums<N, T>, grid, dim3(wide, kThreads / wide), shared_size<T>(kThreads * N), current_stream(), x, chunk,
         sums);
}

}  // namespace

void spread_biases(const Tensor& biases, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("linear", out.dtype(), [&]<class T>(Type<T>) {
    constexpr int kWide = kPackWidth<T>;
    const T* const from = biases.data<T>();
    const Index columns = biases.dim(1), distance = biases.dim(0) > 1 ? biases.strides()[0] : 0;
    const bool wide = columns % kWide == 0 && can_pack<kWide>(from, distance);
    const Index packs = out.size() / (wide ? kWide : 1);
    launch(wide ? bias_rows<kWide, T> : bias_rows<1, T>, dim3(blocks_for("linear", packs, kThreads)), dim3(kThreads), 0,
           current_stream(), from, distance, out.data<T>(), columns, packs / out.dim(0), packs);
  });
}

Tensor column_sums(const std::vector<Tensor>& matrices) {
  constexpr Index kRows = 256, kMostChunks = 1024;
  const Index rows = matrices[0].dim(0), columns = matrices[0].dim(1);
  const Index chunk = std::max(kRows, (rows + kMostChunks - 1) / kMostChunks);
  const Index chunks = std::max<Index>((rows + chunk - 1) / chunk, 1);
  Tensor sums = empty({static_cast<Index>(matrices.size()), chunks, columns}, matrices[0].dtype(), matrices[0].device(),
                      "linear_grad_bias");
  if (columns == 0) return sums;
  visit_float("linear_grad_bias", sums.dtype(), [&]<class T>(Type<T>) {
    constexpr int kWide = kPackWidth<T>;
    for (std::size_t first = 0; first < matrices.size(); first += kMostMatrices) {
      const std::size_t count = std::min<std::size_t>(kMostMatrices, matrices.size() - first);
      const Shape strides = matrices[first].strides();
      bool as_they_lie = strides[1] == 1;
      for (std::size_t i = 0; i < count; ++i) as_they_lie = as_they_lie && matrices[first + i].strides() == strides;
      std::vector<Tensor> kept;  // copies where rows have gaps within or other distances
      const T* data[kMostMatrices] = {};
      bool wide = columns % kWide == 0;
      for (std::size_t i = 0; i < count; ++i) {
        kept.push_back(as_they_lie ? matrices[first + i] : matrices[first + i].contiguous());
        data[i] = kept[i].data<T>();
        wide = wide && can_pack<kWide>(data[i], kept[i].strides()[0]);
      }
      const Matrices<T> x{data[0], data[1], data[2], data[3], kept[0].strides()[0], rows, columns};
      Tensor own = sums.slice(0, static_cast<Index>(first), static_cast<Index>(first + count));
      const auto start = wide ? start_sums<kWide, T> : start_sums<1, T>;
      start(x, static_cast<unsigned>(count), chunk, chunks, own.data<T>());
    }
  });
  return sums;
}

}  // namespace subquad::kernels::cuda
