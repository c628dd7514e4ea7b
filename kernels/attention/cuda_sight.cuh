// Which keys a query sees, for CUDA kernels: what seen.h answers on the CPU with lists of positions. The mask lives on
// the device, so that no list can be made on the host; kernels walk over tiles of 32 positions instead, whose mask fits
// into the bits of one word, and leave out the tiles whose word is 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kTileRows = 32;  // positions of a tile that is walked over: one bit each
inline constexpr unsigned kAllBits = 0xffffffffu;

// Bits 0 ... count - 1; bits count ... 31.
constexpr unsigned bits_below(int count) {
  return count <= 0 ? 0 : count >= kTileRows ? kAllBits : (1u << count) - 1;
}
constexpr unsigned bits_from(int count) {
  return ~bits_below(count);
}

constexpr int tiles(int rows, int per_tile) {
  return (rows + per_tile - 1) / per_tile;
}

// What a tensor [B, H, N, ...] holds for one head, row by row (or number by number).
template <class T>
struct HeadRows {
  T* data;
  Index stride;

  template <int Rank>
  __device__ HeadRows(View<T, Rank> x, Index b, Index h)
      : data(x.data() + b * x.stride(0) + h * x.stride(1)), stride(x.stride(2)) {}
  __device__ T* row(int i) const { return data + i * stride; }
};

// lse and lse_rest of a query, from its largest logit and the sum of e^(logit - top).
template <class T>
__device__ void store_lse(T top, T sum, T* lse, T* lse_rest) {
  const double exact_top = top, log_sum = log(static_cast<double>(sum));
  const T rounded = sum == 0 ? -std::numeric_limits<T>::infinity() : static_cast<T>(exact_top + log_sum);
  *lse = rounded;
  *lse_rest = sum == 0 ? T(0) : static_cast<T>(exact_top - static_cast<double>(rounded) + log_sum);
}

// One sample's keys and queries.
struct SampleSight {
  const bool* real;      // [Nk], or null: every key before key_end is real
  int key_end;           // keys from here on are padding
  const bool* computed;  // [Nq], or null: every query before queries_end is computed
  int queries_end;
  int key_count, query_count;
  bool causal;

  __device__ bool key_counts(int j) const { return j < key_end && (real == nullptr || real[j]); }
  // Whether query i is computed at all; it may see no key all the same.
  __device__ bool query_counts(int i) const { return i < queries_end && (computed == nullptr || computed[i]); }

  // Query i sees no key from limit(i) on; key j is seen by no query before first_query(j).
  __device__ int limit(int i) const { return causal ? std::min(key_end, i + 1 + key_count - query_count) : key_end; }
  __device__ int first_query(int j) const { return causal ? std::max(0, j - (key_count - query_count)) : 0; }
  // Past the last query that is computed.
  __device__ int query_end() const { return queries_end; }

  // All lanes of a warp call: bit r tells of position first + r.
  __device__ unsigned key_bits(int first) const { return __ballot_sync(kWholeWarp, key_counts(first + lane())); }
  __device__ unsigned query_bits(int first) const { return __ballot_sync(kWholeWarp, query_counts(first + lane())); }
  // A query whose lse is -inf saw no key in forward: it does not count in backward.
  template <class T>
  __device__ unsigned query_bits(int first, HeadRows<const T> lse) const {
    const int i = first + lane();
    return __ballot_sync(kWholeWarp, query_counts(i) && *lse.row(i) != -INFINITY);
  }

  // The first tile in first, first + 32, ... < end in which any key (query) counts; all bits 0 where there is none.
  struct Tile {
    int first;
    unsigned bits;
  };
  __device__ Tile next_keys(int first, int end) const {
    for (; first < end; first += kTileRows)
      if (const unsigned bits = key_bits(first)) return {first, bits};
    return {end, 0};
  }
  template <class T>
  __device__ Tile next_queries(int first, int end, HeadRows<const T> lse) const {
    for (; first < end; first += kTileRows)
      if (const unsigned bits = query_bits(first, lse)) return {first, bits};
    return {end, 0};
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
};

// A mask [B, count] on the device: the first `lengths` positions of a sample, or those that are `real`, or all.
struct Counting {
  const bool* real = nullptr;
  const Index* lengths = nullptr;
  int count;

  Counting(const Mask& mask, Index positions) : count(static_cast<int>(positions)) {
    if (mask.defined() && mask.prefix) lengths = mask.lengths.data<Index>();
    if (mask.defined() && !mask.prefix) real = mask.real.data<bool>();
  }

  __device__ const bool* flags(Index b) const { return real == nullptr ? nullptr : real + b * count; }
  __device__ int end(Index b) const { return lengths == nullptr ? count : static_cast<int>(lengths[b]); }
};

struct Sight {
  Counting keys, queries;
  bool causal;

  Sight(const Tensor& q, const Tensor& k, const Mask& mask, const AttentionOptions& options)
      : keys(mask, k.dim(2)),
        queries(options.queries.defined()                             ? options.queries
                : options.skip_padded_queries && q.dim(2) == k.dim(2) ? mask
                                                                      : Mask(),
                q.dim(2)),
        causal(options.causal) {}

  __device__ SampleSight sample(Index b) const {
    return {keys.flags(b), keys.end(b), queries.flags(b), queries.end(b), keys.count, queries.count, causal};
  }
};

}  // namespace subquad::kernels::cuda
