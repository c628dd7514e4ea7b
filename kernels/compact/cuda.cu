#include "subquad/kernels/compact/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/copy/units.cuh"
#include "subquad/kernels/warp/reduce.cuh"

// Two launches: where each row of a sample comes from, then the rows. How many real positions there are is counted, so
// that a mask whose lengths say otherwise does no harm.

namespace subquad::kernels::cuda {
namespace {

enum class Way { to_front, to_places };

constexpr int kEach = 8;  // neighbouring positions of a thread
constexpr int kMostThreads = 1024;

// How many of `count` of the threads before this one, and of all of the block. All threads call; `totals` is shared
// memory for 32 numbers.
struct Before {
  int mine, all;
};
__device__ Before count_before(int count, int* totals) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int sum = count;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int lower = __shfl_up_sync(kWholeWarp, sum, static_cast<unsigned>(offset));
    if (lane >= offset) sum += lower;
  }
  __syncthreads();
  if (lane == kWarp - 1) totals[warp] = sum;
  __syncthreads();
  Before before{sum - count, 0};
  for (int w = 0; w < static_cast<int>(blockDim.x) / kWarp; ++w) {
    if (w < warp) before.mine += totals[w];
    before.all += totals[w];
  }
  return before;
}

// sources [B, N]: the row that goes to row i, -1 where none does. A block per sample counts through its positions,
// kEach to a thread.
__global__ void compact_sources(const bool* reals, Index positions, Way way, Index* sources) {
  SharedMemory shared;
  int* const totals = shared.take<int>(kWarp);
  const bool* const real = reals + blockIdx.x * positions;
  Index* const source = sources + blockIdx.x * positions;
  Index front = 0;
  for (Index start = 0; start < positions; start += Index{blockDim.x} * kEach) {
    const Index first = start + Index{threadIdx.x} * kEach;
    const Index end = first + kEach < positions ? first + kEach : positions;
    int count = 0;
    for (Index i = first; i < end; ++i) count += real[i] ? 1 : 0;
    const Before before = count_before(count, totals);
    Index place = front + before.mine;
    for (Index i = first; i < end; ++i) {
      if (way == Way::to_places) source[i] = real[i] ? place : -1;
      if (way == Way::to_front && real[i]) source[place] = i;
      if (real[i]) ++place;
    }
    front += before.all;
  }
  if (way == Way::to_front)
    for (Index i = front + threadIdx.x; i < positions; i += blockDim.x) source[i] = -1;
}

// Row (b, a, i) of out is row sources[b, i] of x, or zeros. Threads (x, y): neighbouring units of a row, neighbouring
// rows.
template <class Unit>
__global__ void compact_rows(const Unit* x, const Index* sources, Index rows, Index groups, Index positions,
                             Index width, Unit* out) {
  const Index row = Index{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const Index group = row / positions, source = sources[group / groups * positions + row % positions];
  for (Index c = threadIdx.x; c < width; c += blockDim.x)
    out[row * width + c] = source < 0 ? Unit{} : x[(group * positions + source) * width + c];
}

__global__ void compact_prefix(const Index* lengths, Index size, Index positions, bool* real) {
  const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) real[i] = i % positions < lengths[i / positions];
}

// The widest unit, up to 16 bytes, in which rows of so many bytes of x can be moved; out starts on more than that.
std::size_t unit_bytes(const Tensor& x, std::size_t row_bytes) {
  std::size_t bytes = 16;
  while (row_bytes % bytes != 0 || reinterpret_cast<std::uintptr_t>(x.bytes()) % bytes != 0) bytes /= 2;
  return bytes;
}

void move_rows(const Tensor& x, const Mask& mask, Way way, Tensor& out) {
  if (out.size() == 0) return;
  constexpr unsigned kThreads = 256;
  const Index batch = x.dim(0), groups = x.dim(1), positions = x.dim(2), rows = batch * groups * positions;
  Tensor sources = empty({batch, positions}, kInt64, x.device(), "compact");
  const Index wanted = (positions + kEach * kWarp - 1) / (kEach * kWarp) * kWarp;
  launch(compact_sources, dim3(blocks_for("compact", batch, 1)),
         dim3(static_cast<unsigned>(std::min<Index>(wanted, kMostThreads))), shared_size<int>(kWarp), current_stream(),
         mask.real.data<bool>(), positions, way, sources.data<Index>());
  const std::size_t row_bytes = static_cast<std::size_t>(x.dim(3)) * dtype_bytes(x.dtype());
  visit_unit(unit_bytes(x, row_bytes), [&]<class Unit>(Type<Unit>) {
    const auto width = static_cast<Index>(row_bytes / sizeof(Unit));
    unsigned across = 1;
    while (across < kThreads && across < width) across *= 2;
    launch(compact_rows<Unit>, dim3(blocks_for("compact", rows, kThreads / across)), dim3(across, kThreads / across), 0,
           current_stream(), reinterpret_cast<const Unit*>(x.bytes()), sources.data<Index>(), rows, groups, positions,
           width, reinterpret_cast<Unit*>(out.bytes()));
  });
}

}  // namespace

void compact(const Tensor& x, const Mask& mask, Tensor& out) {
  move_rows(x, mask, Way::to_front, out);
}

void spread(const Tensor& x, const Mask& mask, Tensor& out) {
  move_rows(x, mask, Way::to_places, out);
}

void prefix_positions(const Tensor& lengths, Tensor& real) {
  if (real.size() == 0) return;
  constexpr int kThreads = 256;
  launch(compact_prefix, dim3(blocks_for("compact", real.size(), kThreads)), dim3(kThreads), 0, current_stream(),
         lengths.data<Index>(), real.size(), real.dim(1), real.data<bool>());
}

}  // namespace subquad::kernels::cuda
