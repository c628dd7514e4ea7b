#include "subquad/kernels/linear/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;

// One thread per pack of N elements of out: writes are coalesced, reads of the bias come from the cache.
template <int N, class T>
__global__ void bias_rows(const T* bias, T* out, Index columns, Index packs) {
  const Index pack = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (pack < packs) store_pack(out + pack * N, load_pack<N>(bias + pack * N % columns));
}

// sums [chunks, columns]: of each column of x over `chunk` rows. Block (tile of columns, chunk); thread (i, j) adds
// rows j, j + blockDim.y, ... of N neighbouring columns, so that each row of threads reads a piece of one line. The
// block's sums meet in shared memory and the first row of threads adds them in order.
template <int N, class T>
__global__ void column_sums(View<const T, 2> x, Index chunk, View<T, 2> sums) {
  SharedMemory memory;
  T* const meeting = memory.take<T>(kThreads * N);
  const Index column = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  const Index begin = blockIdx.y * chunk, end = begin + chunk < x.dim(0) ? begin + chunk : x.dim(0);
  Pack<T, N> sum = {};
  if (column < x.dim(1)) {
    for (Index row = begin + threadIdx.y; row < end; row += blockDim.y) {
      const auto more = load_pack<N>(&x(row, column));
      for (int n = 0; n < N; ++n) sum.at[n] += more.at[n];
    }
  }
  store_pack(meeting + (threadIdx.y * blockDim.x + threadIdx.x) * N, sum);
  __syncthreads();
  if (threadIdx.y > 0 || column >= x.dim(1)) return;
  for (unsigned j = 1; j < blockDim.y; ++j) {
    const auto more = load_pack<N>(meeting + (j * blockDim.x + threadIdx.x) * N);
    for (int n = 0; n < N; ++n) sum.at[n] += more.at[n];
  }
  store_pack(&sums(blockIdx.y, column), sum);
}

template <int N, class T>
void sum_chunks(View<const T, 2> x, Index chunk, View<T, 2> sums) {
  const Index packs = x.dim(1) / N;
  unsigned wide = 4;  // threads along columns: as many as there are packs, up to a warp
  while (wide < kWarp && wide < packs) wide *= 2;
  const dim3 grid(blocks_for("linear_grad_bias", packs, wide), static_cast<unsigned>(sums.dim(0)));
  launch(column_sums<N, T>, grid, dim3(wide, kThreads / wide), shared_size<T>(kThreads * N), current_stream(), x, chunk,
         sums);
}

// Column sums of x over `chunk` rows each: [chunks, columns].
template <class T>
void sum_chunks(const Tensor& x, Index chunk, Tensor& sums) {
  const auto from = x.view<const T, 2>();
  const auto to = sums.view<T, 2>();
  constexpr int kWide = kPackWidth<T>;
  if (from.dim(1) % kWide == 0 && can_pack<kWide>(from.data(), from.stride(0)))
    sum_chunks<kWide, T>(from, chunk, to);
  else
    sum_chunks<1, T>(from, chunk, to);
}

}  // namespace

void spread_bias(const Tensor& bias, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("linear", out.dtype(), [&]<class T>(Type<T>) {
    constexpr int kWide = kPackWidth<T>;
    const T* const from = bias.data<T>();
    const bool wide = bias.size() % kWide == 0 && can_pack<kWide>(from, 0);
    const Index packs = out.size() / (wide ? kWide : 1);
    launch(wide ? bias_rows<kWide, T> : bias_rows<1, T>, dim3(blocks_for("linear", packs, kThreads)), dim3(kThreads), 0,
           current_stream(), from, out.data<T>(), bias.size(), packs);
  });
}

// Two passes of the same sums: over chunks of rows, many blocks at once, then over the chunks.
void linear_grad_bias(const Tensor& dout, Tensor& dbias) {
  constexpr Index kRows = 256, kMostChunks = 1024;
  if (dbias.size() == 0) return;
  if (dout.dim(0) == 0) return fill(dbias, 0);
  const Tensor rows = dout.strides()[1] == 1 ? dout : dout.contiguous();
  const Index chunk = std::max(kRows, (rows.dim(0) + kMostChunks - 1) / kMostChunks);
  const Index chunks = (rows.dim(0) + chunk - 1) / chunk;
  Tensor out = dbias.reshape({1, dbias.size()});
  visit_float("linear_grad_bias", dout.dtype(), [&]<class T>(Type<T>) {
    if (chunks == 1) return sum_chunks<T>(rows, chunk, out);
    Tensor parts = empty({chunks, rows.dim(1)}, rows.dtype(), rows.device());
    sum_chunks<T>(rows, chunk, parts);
    sum_chunks<T>(parts, chunks, out);
  });
}

}  // namespace subquad::kernels::cuda
