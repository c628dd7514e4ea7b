// How a reduction x [A, R, K] -> [A, K] is laid over threads.
//
// A block has groups x lanes x columns threads, each a power of 2. Neighbouring threads take neighbouring columns, and
// with a narrow K neighbouring rows, so that a warp reads one run of memory; the lanes of a column take its rows in
// turn and are then combined as a tree; several slabs a share a block where one would leave it idle. R is cut into
// chunks of kRowsPerLane rows per lane, one block each: their results form [A, chunks, K], reduced the same way, until
// one is left. All of this follows from the shape alone, and so does the order of every sum.
#pragma once

#include <algorithm>
#include <bit>

#include "subquad/core/cuda/launch.cuh"

namespace subquad::kernels::cuda {

struct Tiling {
  static constexpr Index kThreads = 256, kWarpSize = 32, kRowsPerLane = 16;

  Tiling(Index a, Index r, Index k) : slabs(a), rows(r), width(k) {
    const auto power = [](Index n) { return static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(n))); };
    const Index across = std::min(power(k), kWarpSize);
    const Index least = std::min(power(r), kWarpSize / across);  // fills a warp
    const Index down = std::clamp(power((r + kRowsPerLane - 1) / kRowsPerLane), least, kThreads / across);
    columns = static_cast<int>(across);
    lanes = static_cast<int>(down);
    groups = static_cast<int>(std::min(power(a), kThreads / (across * down)));
    chunks = (r + down * kRowsPerLane - 1) / (down * kRowsPerLane);
    strips = (k + across - 1) / across;
  }

  int threads() const { return groups * lanes * columns; }
  unsigned blocks(const char* op) const { return blocks_for(op, (slabs + groups - 1) / groups * chunks * strips, 1); }

  // A thread's part: rows first, first + lanes, ... below end of one column; `inside` unless the block juts out.
  struct Part {
    Index slab, chunk, column, first, end;
    int lane;
    bool inside;
  };
  __device__ Part part(Index block, int thread) const {
    const Index strip = block % strips, chunk = block / strips % chunks, slab_block = block / strips / chunks;
    const int lane = thread / columns % lanes;
    const Index slab = slab_block * groups + thread / columns / lanes, column = strip * columns + thread % columns;
    const Index begin = chunk * lanes * kRowsPerLane, end = begin + lanes * kRowsPerLane;
    return {slab, chunk, column, begin + lane, end < rows ? end : rows, lane, slab < slabs && column < width};
  }

  Index slabs, rows, width;    // A, R, K
  int groups, lanes, columns;  // threads of a block along each of them
  Index chunks, strips;        // blocks along R and K
};

// Combines the values of the lanes of each column: lane 0 gets the whole. combine(a, b) adds b's part to a; `scratch`
// is shared memory for one value per thread. All threads of the block call.
template <class T, class Combine>
__device__ T combine_lanes(const Tiling& tiling, int lane, T value, T* scratch, Combine combine) {
  const int thread = static_cast<int>(threadIdx.x);
  scratch[thread] = value;
  for (int half = tiling.lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) scratch[thread] = value = combine(value, scratch[thread + half * tiling.columns]);
  }
  return value;
}

}  // namespace subquad::kernels::cuda
