// Where the nonzeros of some factors stand, as kernels see it: the offsets travel by value, and each block brings those
// of its sample into range once.
#pragma once

#include <algorithm>
#include <climits>
#include <cstdint>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/chord_matmul/links.h"

namespace subquad::kernels::cuda {

inline constexpr int kMostOffsets = 256;  // of a table: 2 KiB of the 4 KiB that a kernel's arguments may have
inline constexpr int kMostFactors = 64;   // of a table: one bit each

// Links [first, first + count) of each of some factors.
struct LinkTable {
  int factors = 0, first = 0, count = 0;
  bool mirrored = false;    // of the transposed factors
  std::uint64_t flips = 0;  // bit f: the rule of factor f is flip
  Index offset[kMostOffsets] = {};

  static bool holds(const std::vector<Links>& factors) {
    const auto number = static_cast<Index>(factors.size());
    return number <= kMostFactors && number * factors.front().count() <= kMostOffsets;
  }

  void append(const Links& links) {
    if (links.rule == LinkRule::flip) flips |= std::uint64_t{1} << factors;
    std::copy_n(links.offsets.begin() + first, count, offset + factors * count);
    ++factors;
  }
};

// All links of these factors, which a table holds; of the transposed ones last to first.
inline LinkTable table_of(const std::vector<Links>& factors, bool mirrored = false) {
  LinkTable table{.count = static_cast<int>(factors.front().count()), .mirrored = mirrored};
  for (std::size_t f = 0; f < factors.size(); ++f) table.append(factors[mirrored ? factors.size() - 1 - f : f]);
  return table;
}

// Calls f(table) for the links of one factor, as many of them at a time as a table holds.
template <class F>
void for_tables(const Links& factor, bool mirrored, const F& f) {
  const int all = static_cast<int>(factor.count());
  for (int first = 0; first < all; first += kMostOffsets) {
    LinkTable table{.first = first, .count = std::min(kMostOffsets, all - first), .mirrored = mirrored};
    table.append(factor);
    f(table);
  }
}

// One factor's links for a sample of n positions.
struct SampleLinks {
  const int* step;  // [count]: how far to the column, in [0, n); where the rule is flip, what to flip
  int n;
  bool flip;

  // The column that a step leads to from a row, -1 where it drops out. 0 <= row < n <= 2^30
  __device__ int column(int row, int step_k) const {
    if (flip) {
      const auto partner = static_cast<unsigned>(row) ^ static_cast<unsigned>(step_k);
      return partner < static_cast<unsigned>(n) ? static_cast<int>(partner) : -1;
    }
    const int column = row + step_k;
    return column < n ? column : column - n;
  }
};

// All factors of a table for a sample, in shared memory. Call .of() after a barrier.
class BlockLinks {
 public:
  static std::size_t shared_bytes(const LinkTable& table) {
    return cuda::shared_size<int>(static_cast<std::size_t>(table.factors * table.count));
  }

  // All threads of the block call.
  __device__ BlockLinks(const LinkTable& table, int n, SharedMemory& shared)
      : steps_(shared.take<int>(table.factors * table.count)), n_(n), count_(table.count), flips_(table.flips) {
    for (int i = static_cast<int>(threadIdx.x); i < table.factors * count_; i += static_cast<int>(blockDim.x)) {
      const Index offset = table.offset[i];
      const Index far = offset > INT_MAX ? -1 : offset;  // flips bits that no position has
      steps_[i] = static_cast<int>(flips(i / count_) ? far
                                   : n > 0           ? within(table.mirrored ? -(offset % n) : offset % n)
                                                     : 0);
    }
  }

  __device__ SampleLinks of(int factor) const { return {steps_ + factor * count_, n_, flips(factor)}; }

 private:
  __device__ bool flips(int factor) const { return (flips_ >> factor & 1) != 0; }
  __device__ Index within(Index step) const { return step < 0 ? step + n_ : step; }

  int* steps_;
  int n_, count_;
  std::uint64_t flips_;
};

}  // namespace subquad::kernels::cuda
