#include "subquad/kernels/segment_mean/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/lengths.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kRowLanes = 32;                     // tokens of a segment that are summed side by side
constexpr int kPackLanes = kThreads / kRowLanes;  // packs of features: 128 bytes of a row where packs are 16 bytes
constexpr int kRowsPerWarp = kRowLanes / kWarps;  // row lanes of a warp
constexpr int kPositionsPerBlock = 64;            // of a segment of mean length, in the gradient

// Where segments lie and which positions count. `real` is null where the first ends[b] positions do.
struct Cut {
  const Index* starts;  // [B, S + 1]
  Index segments;
  const bool* real;  // [B, N]
  Lengths ends;
  bool by_length;

  Cut(const Tensor& table, const Mask& mask, Index positions, MeanDivisor divisor)
      : starts(table.data<Index>()),
        segments(table.dim(1) - 1),
        real(mask.defined() && !mask.prefix ? mask.real.data<bool>() : nullptr),
        ends(real != nullptr ? Mask() : mask, positions),
        by_length(divisor == MeanDivisor::length) {}

  __device__ bool is_real(Index b, Index i) const {
    return i < ends[b] && (real == nullptr || real[b * ends.positions + i]);
  }
  // The segments of any table cover every position, and no other.
  __device__ Index begin(Index b, Index j) const { return j == 0 ? 0 : clamped(starts[b * (segments + 1) + j]); }
  __device__ Index end(Index b, Index j) const {
    return j == segments - 1 ? ends.positions : clamped(starts[b * (segments + 1) + j + 1]);
  }

 private:
  __device__ Index clamped(Index start) const {
    return start < 0 ? 0 : start < ends.positions ? start : ends.positions;
  }
};

// The numbers of up to kThreads positions from `first` on that are real, in order, in `list` (shared memory); how many
// they are. `scratch` is shared memory for kWarps numbers. All threads of the block call.
__device__ int list_real(const Cut& cut, Index b, Index first, Index end, int* list, int* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index i = first + threadIdx.x;
  const bool real = i < end && cut.is_real(b, i);
  const unsigned bits = __ballot_sync(kWholeWarp, real);
  if (lane == 0) scratch[warp] = __popc(bits);
  __syncthreads();
  int before = __popc(bits & ((1u << lane) - 1)), total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before += scratch[w];
    total += scratch[w];
  }
  if (real) list[before] = static_cast<int>(threadIdx.x);
  __syncthreads();
  return total;
}

template <class T, int N>
__device__ void add(Pack<T, N>& sum, const Pack<T, N>& term) {
  for (int i = 0; i < N; ++i) sum.at[i] += term.at[i];
}

// A block per segment of a head and kPackLanes packs of features, neighbouring threads on neighbouring packs; row lane
// r sums the real tokens number r, r + 32, ... of the segment, then the 32 sums are added, those of a warp first. x is
// read once, the mask (only if it is no prefix) by every block of a segment, from cache.
template <class T, int N>
__global__ void segment_mean_blocks(View<const T, 4> x, Cut cut, View<T, 4> out) {
  SharedMemory shared;
  Pack<T, N>* const warp_sums = shared.take<Pack<T, N>>(kThreads / kRowsPerWarp);
  int* const list = shared.take<int>(kThreads);
  int* const scratch = shared.take<int>(kWarps);
  const int packs = static_cast<int>(x.dim(3)) / N, chunks = (packs + kPackLanes - 1) / kPackLanes;
  const Index task = Index{blockIdx.x} / chunks, heads = x.dim(1);
  const Index b = task / cut.segments / heads, h = task / cut.segments % heads, j = task % cut.segments;
  const int pack = static_cast<int>(blockIdx.x) % chunks * kPackLanes + static_cast<int>(threadIdx.x) % kPackLanes;
  const int row_lane = static_cast<int>(threadIdx.x) / kPackLanes;
  const Index begin = cut.begin(b, j), end = cut.end(b, j);

  Pack<T, N> sum{};
  Index count = 0;
  if (cut.real == nullptr) {
    const Index real_end = end < cut.ends[b] ? end : cut.ends[b];
    count = real_end > begin ? real_end - begin : 0;
    if (pack < packs)
#pragma unroll 4
      for (Index i = begin + row_lane; i < real_end; i += kRowLanes) add(sum, load_pack<N>(&x(b, h, i, pack * N)));
  } else {
    for (Index first = begin; first < end; first += kThreads) {
      const int found = list_real(cut, b, first, end, list, scratch);
      if (pack < packs)
        for (int t = (row_lane + kRowLanes - static_cast<int>(count % kRowLanes)) % kRowLanes; t < found;
             t += kRowLanes)
          add(sum, load_pack<N>(&x(b, h, first + list[t], pack * N)));
      count += found;
      __syncthreads();  // the list is no longer read
    }
  }

  for (int i = 0; i < N; ++i)
    for (int offset = kPackLanes; offset < kWarp; offset *= 2)
      sum.at[i] += __shfl_xor_sync(kWholeWarp, sum.at[i], offset);
  if (row_lane % kRowsPerWarp == 0) warp_sums[row_lane / kRowsPerWarp * kPackLanes + threadIdx.x % kPackLanes] = sum;
  __syncthreads();
  if (row_lane > 0 || pack >= packs) return;
  for (int warp = 1; warp < kWarps; ++warp) add(sum, warp_sums[warp * kPackLanes + threadIdx.x]);
  const T divisor = static_cast<T>(cut.by_length ? end - begin : count);
  for (T& value : sum.at) value = count == 0 ? T(0) : value / divisor;
  store_pack<N>(&out(b, h, j, pack * N), sum);
}

// Some blocks per segment of a sample, each with a stretch of its positions, threads along the features of all heads:
// dx, in memory [B, N, H, C], is written without gaps, and dout read once and then from cache.
template <class T, int N>
__global__ void segment_mean_grad_blocks(View<const T, 4> dout, Cut cut, int parts, View<T, 4> dx) {
  SharedMemory shared;
  int* const scratch = shared.take<int>(kWarp);
  const Index segment = Index{blockIdx.x} / parts, b = segment / cut.segments, j = segment % cut.segments;
  const Index part = Index{blockIdx.x} % parts, begin = cut.begin(b, j), length = cut.end(b, j) - begin;
  if (length <= 0) return;
  Index count = length;
  if (!cut.by_length) {
    int mine = 0;
    if (cut.real != nullptr) {
      for (Index i = threadIdx.x; i < length; i += kThreads) mine += cut.is_real(b, begin + i) ? 1 : 0;
      count = block_sum(mine, scratch);
    } else if (cut.ends[b] < begin + length) {
      count = cut.ends[b] - begin;
    }
  }
  const T divisor = static_cast<T>(count);  // where it is 0 no position is real
  const Index first = begin + length * part / parts, stop = begin + length * (part + 1) / parts;
  const int head_packs = static_cast<int>(dx.dim(3)) / N, row_packs = static_cast<int>(dx.dim(1)) * head_packs;
  for (Index i = first + threadIdx.x / row_packs, c = threadIdx.x % row_packs; i < stop;) {
    const Index h = c / head_packs, column = c % head_packs * N;
    Pack<T, N> share{};
    if (cut.is_real(b, i)) {
      share = load_pack<N>(&dout(b, h, j, column));
      for (T& value : share.at) value /= divisor;
    }
    store_pack<N>(&dx(b, h, i, column), share);
    c += kThreads;
    i += c / row_packs;
    c %= row_packs;
  }
}

// Calls f(Type<T>, integral_constant N): packs of 16 bytes of float32 where rows of `t` [B, H, N, C] and of `dense`
// can be moved so.
template <class F>
void with_packs(const char* op, const Tensor& t, const Tensor& dense, const F& f) {
  visit_float(op, t.dtype(), [&]<class T>(Type<T> element) {
    if constexpr (std::is_same_v<T, float>) {
      bool packs = can_pack<4>(t.data<T>(), t.dim(3)) && can_pack<4>(dense.data<T>(), 0);
      for (int d = 0; d < 3; ++d) packs = packs && t.strides()[d] % 4 == 0;
      if (packs) return f(element, std::integral_constant<int, 4>());
    }
    f(element, std::integral_constant<int, 1>());
  });
}

}  // namespace

void segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& out) {
  constexpr const char* kOp = "segment_mean";
  if (out.size() == 0) return;
  const Cut cut(starts, mask, x.dim(2), divisor);
  with_packs(kOp, x, out, [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
    const Index chunks = (x.dim(3) / N + kPackLanes - 1) / kPackLanes;
    launch(segment_mean_blocks<T, N>, dim3(blocks_for(kOp, out.size() / out.dim(3) * chunks, 1)), dim3(kThreads),
           shared_size<Pack<T, N>>(kThreads / kRowsPerWarp) + shared_size<int>(kThreads) + shared_size<int>(kWarps),
           current_stream(), x.view<const T, 4>(), cut, out.view<T, 4>());
  });
}

void segment_mean_grad(const Tensor& dout, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& dx) {
  constexpr const char* kOp = "segment_mean_grad";
  if (dx.size() == 0) return;
  const Cut cut(starts, mask, dx.dim(2), divisor);
  const Index length = dx.dim(2) / cut.segments;
  const int parts = static_cast<int>(std::clamp<Index>(length / kPositionsPerBlock, 1, 64));
  with_packs(kOp, dx, dout, [&]<class T, int N>(Type<T>, std::integral_constant<int, N>) {
    launch(segment_mean_grad_blocks<T, N>, dim3(blocks_for(kOp, dx.dim(0) * cut.segments * parts, 1)), dim3(kThreads),
           shared_size<int>(kWarp), current_stream(), dout.view<const T, 4>(), cut, parts, dx.view<T, 4>());
  });
}

}  // namespace subquad::kernels::cuda
