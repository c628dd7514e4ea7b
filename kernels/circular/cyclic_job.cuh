// Products of the spectra of real sequences whose indices run modulo a sample's length n, which only the device knows.
// What cyclic-inl.h is on the CPU.
//
// Transforms have an even smooth length M, n itself or a padded one >= 2 n - 1. Then the one sequence is followed by
// zeros and the other is continued periodically, where its products with the first are looked for. Every block finds n,
// M and the way there by itself, so a sample's result depends on nothing but the sample:
//
//   M numbers fit into 32 KiB   one block has everything of a few features of a sample in shared memory; one launch
//                               (cyclic_in_block.cuh); less where the device has no shared memory for all sequences
//   else                        three passes, between which spectra stand in memory, and one or two launches before
//                               them for means (cyclic_long.cuh)
//
// A launcher that cannot tell which samples are long launches both, and each leaves the other's samples alone.
//
// What is multiplied and what is made of it is a `Job`, trivially copyable:
//
//   kIn, kOut               sequences that go in and that come out
//   kMeans, kFirst          means over the n positions that it needs; those from kFirst on are sums with the first ones
//   term(q, at, mean)       what mean q is the mean of; `at` is an element of [B, N, D], mean[q] what is known so far
//
//   value(s, at, mean)      an element of sequence s, and continued(s) what stands behind the last
//
//   product(x, y)           spectra of what comes out of spectra of what goes in
//
//   finish(s, at, feature, v, mean)   stores an element of result s, the inverse transform times `scale(n)`
//   zero(at)                          stores zeros in all results
//   sample(place, n, mean)            if there is one: once per sample and feature, at place b D + feature; no means
//                                     where n is 0
#pragma once

#include "subquad/core/tensor.h"
#include "subquad/kernels/fft/panel.cuh"
#include "subquad/kernels/warp/lengths.cuh"

namespace subquad::kernels::cuda {

constexpr int kCyclicThreads = 256;
constexpr int kCyclicParts = 32;  // sums are cut into so many parts, whatever n

// The transform's length M for sequences of n >= 1 numbers.
constexpr int cyclic_length(int n) {
  return n % 2 == 0 && radices_of(n).count >= 0 ? n : padded_length(2 * n - 1);
}
template <class T>
inline constexpr int kLongestInBlock = (32 << 10) / static_cast<int>(sizeof(T));  // M, on any device

// What stands behind the n numbers of a sequence, up to M.
enum class Continued {
  by_zeros,
  ahead,   // numbers n ... 2 n - 2 are 0 ... n - 2 again, for b[i + t]
  behind,  // numbers M - n + 1 ... M - 1 stand for -(n - 1) ... -1, for b[j - i]
};

struct CyclicShape {
  Lengths lengths;
  Index positions, width;
  int longest_in_block;  // M, on this device

  __device__ Index at(Index b, Index j, Index feature) const { return (b * positions + j) * width + feature; }
};

// Number j of a continued sequence: value(i) are its own, i < n.
template <class T, class Value>
__device__ T cyclic_number(int j, int n, int length, Continued how, const Value& value) {
  if (j < n) return value(j);
  if (how == Continued::ahead && j < 2 * n - 1) return value(j - n);
  if (how == Continued::behind && j > length - n) return value(j - length + n);
  return T(0);
}

// Means over the block's lanes (features): mean q of lane l at [(q << bits) + l].
template <class T>
struct BlockMeans {
  T* memory;
  int bits;

  struct OfLane {
    const T* first;
    int step;
    __device__ T operator[](int q) const { return first[q * step]; }
  };
  __device__ OfLane operator()(int lane) const { return {memory + lane, 1 << bits}; }
};

// Means kBegin ... kEnd - 1 of a job from all positions, by the whole block; `parts` has room for kCyclicParts of each.
template <int kBegin, int kEnd, class T, class Job>
__device__ void block_means(const Job& job, const CyclicShape& shape, Index b, Index first, int n,
                            const BlockMeans<T>& means, T* parts) {
  if constexpr (kBegin < kEnd) {
    constexpr int kCount = kEnd - kBegin;
    const Lanes<kCount> lanes = {means.bits};
    lanes.each(kCyclicParts, [&](int part, int lane) {
      const int q = kBegin + (lane >> means.bits), channel = lane & ((1 << means.bits) - 1);
      T sum = 0;
      if (first + channel < shape.width)
        for (int j = part; j < n; j += kCyclicParts)
          sum += job.term(q, shape.at(b, j, first + channel), means(channel));
      parts[(part * kCount << means.bits) + lane] = sum;
    });
    __syncthreads();
    lanes.each(1, [&](int, int lane) {
      T sum = 0;
      for (int part = 0; part < kCyclicParts; ++part) sum += parts[(part * kCount << means.bits) + lane];
      means.memory[(kBegin << means.bits) + lane] = sum / static_cast<T>(n);
    });
    __syncthreads();
  }
}

template <class Job, class Mean>
__device__ void finish_sample(const Job& job, Index place, int n, const Mean& mean) {
  if constexpr (requires { job.sample(place, n, mean); }) job.sample(place, n, mean);
}

}  // namespace subquad::kernels::cuda
