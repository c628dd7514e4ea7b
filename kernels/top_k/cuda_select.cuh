// The k largest of a row, found by a block: a radix select of the k-th largest, then a stable compaction. Numbers are
// compared as unsigned integers of the same order, so that -0 equals +0 and a NaN, which a kernel cannot report, is
// larger than all numbers and equal to every other NaN.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

template <class T>
using OrderedKey = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

// 0 is the key of no number.
template <class T>
__device__ OrderedKey<T> ordered_key(T x) {
  using Key = OrderedKey<T>;
  constexpr Key kSign = Key{1} << (8 * sizeof(T) - 1);
  if (x != x) return ~Key{0};
  const Key bits = x == 0 ? Key{0} : std::bit_cast<Key>(x);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

inline constexpr int kSelectDigitBits = 11, kSelectDigits = 1 << kSelectDigitBits;

// The sum of the values of the threads before this one, for a block of whole warps; `scratch` has room for one value
// per warp and may be used again behind the next barrier.
__device__ inline int count_before(int value, int* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int sum = value;  // of lanes 0 ... lane
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int before = __shfl_up_sync(kWholeWarp, sum, offset);
    if (lane >= offset) sum += before;
  }
  if (lane == kWarp - 1) scratch[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += scratch[w];
  return sum - value;
}

// A row as keys: of shared memory where it fits there, which reads it from memory once, else of global memory.
template <class T>
class KeyRow {
 public:
  using Key = OrderedKey<T>;

  // `kept` is shared memory for `width` keys (rounded up to packs of N), or null. With N > 1 the row starts on N
  // elements and whole packs of it may be read. A barrier must follow before keys are read.
  template <int N>
  __device__ static KeyRow of(const T* row, int width, Key* kept) {
    if (kept != nullptr) {
      for (int i = static_cast<int>(threadIdx.x) * N; i < width; i += static_cast<int>(blockDim.x) * N) {
        const auto pack = load_pack<N>(row + i);
        for (int j = 0; j < N; ++j) kept[i + j] = ordered_key(pack.at[j]);
      }
    }
    KeyRow keys;
    keys.row_ = row;
    keys.kept_ = kept;
    return keys;
  }
  // The elements of a row that stand at places[0] ... places[count - 1], a place below 0 being the key of no number,
  // all in `kept`. A barrier must follow.
  __device__ static KeyRow at(const T* row, const Index* places, int count, Key* kept) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
      kept[i] = places[i] < 0 ? 0 : ordered_key(row[places[i]]);
    KeyRow keys;
    keys.row_ = row;
    keys.kept_ = kept;
    return keys;
  }
  __device__ Key operator[](int i) const { return kept_ != nullptr ? kept_[i] : ordered_key(row_[i]); }

 private:
  const T* row_;
  const Key* kept_;
};

// Shared memory of a selection.
struct SelectStage {
  int* bins;     // [kSelectDigits]
  int* scratch;  // [2][warps]
  int* found;    // [2]: the digit that the k-th largest has, and how many keys of that digit are among the k

  __device__ explicit SelectStage(SharedMemory& shared)
      : bins(shared.take<int>(kSelectDigits)), scratch(shared.take<int>(2 * kWarp)), found(shared.take<int>(2)) {}
  static constexpr std::size_t bytes() {
    return shared_size<int>(kSelectDigits) + shared_size<int>(2 * kWarp) + shared_size<int>(2);
  }
};

// The k-th largest of the keys in [begin, end), 1 <= k <= end - begin: `bar`; and how many of the keys that equal it
// belong to the k largest: `room`.
template <class Key>
struct Selection {
  Key bar;
  int room;
};

// All threads of the block call. Digits of 11 bits, the highest first: keys whose digits so far are those of the k-th
// largest are counted by their next one (float32: three passes over the row, with fewer and fewer keys to count), and
// each thread looks for the k-th among its share of the digits, the largest of them first. Counts are integers: their
// order does not matter.
template <class T>
__device__ Selection<OrderedKey<T>> select_kth(const KeyRow<T>& row, int begin, int end, int k,
                                               const SelectStage& stage) {
  using Key = OrderedKey<T>;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  Key prefix = 0;
  for (int high = 8 * sizeof(Key); high > 0; high -= kSelectDigitBits) {
    const int low = high > kSelectDigitBits ? high - kSelectDigitBits : 0;
    for (int d = thread; d < kSelectDigits; d += threads) stage.bins[d] = 0;
    __syncthreads();
    for (int i = begin + thread; i < end; i += threads) {
      const Key key = row[i];
      if (high == 8 * sizeof(Key) || (key ^ prefix) >> high == 0)
        atomicAdd(stage.bins + static_cast<int>(key >> low & (kSelectDigits - 1)), 1);
    }
    __syncthreads();
    const int share = kSelectDigits / threads, top = kSelectDigits - 1 - thread * share;
    int mine = 0;
    for (int d = 0; d < share; ++d) mine += stage.bins[top - d];
    int before = count_before(mine, stage.scratch);
    if (before < k && k <= before + mine) {  // one thread
      int d = top;
      while (before + stage.bins[d] < k) before += stage.bins[d--];
      stage.found[0] = d;
      stage.found[1] = k - before;
    }
    __syncthreads();
    // Where the lowest digit has fewer bits, the bits above it are those of the digit before: the same again.
    prefix |= static_cast<Key>(stage.found[0]) << low;
    k = stage.found[1];
  }
  return {prefix, k};
}

// Calls f(rank, i) for the keys i in [begin, end) that are above the bar, and for the first `room` that equal it, with
// their rank among all of these in the order of i. Each warp has a part of the row of its own, counts it, and starts
// behind what the warps before have counted: 32 neighbouring keys at a time. All threads of the block call.
template <class T, class F>
__device__ void for_selected(const KeyRow<T>& row, int begin, int end, const Selection<OrderedKey<T>>& selection,
                             const SelectStage& stage, const F& f) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int part = ((end - begin + warps - 1) / warps + kWarp - 1) / kWarp * kWarp;
  const int first = begin + warp * part < end ? begin + warp * part : end;
  const int last = first + part < end ? first + part : end;
  int above = 0, equal = 0;
  for (int i = first + lane; i < last; i += kWarp) {
    above += row[i] > selection.bar ? 1 : 0;
    equal += row[i] == selection.bar ? 1 : 0;
  }
  above = warp_sum(above);
  equal = warp_sum(equal);
  if (lane == 0) {
    stage.scratch[warp] = above;
    stage.scratch[kWarp + warp] = equal;
  }
  __syncthreads();
  above = equal = 0;
  for (int w = 0; w < warp; ++w) {
    above += stage.scratch[w];
    equal += stage.scratch[kWarp + w];
  }
  const unsigned lanes_before = (1u << lane) - 1;
  for (int start = first; start < last; start += kWarp) {
    const int i = start + lane;
    const auto key = i < last ? row[i] : 0;
    const unsigned aboves = __ballot_sync(kWholeWarp, key > selection.bar);
    const unsigned equals = __ballot_sync(kWholeWarp, i < last && key == selection.bar);
    const int above_here = above + __popc(aboves & lanes_before), equal_here = equal + __popc(equals & lanes_before);
    if (key > selection.bar)
      f(above_here + (equal_here < selection.room ? equal_here : selection.room), i);
    else if (i < last && key == selection.bar && equal_here < selection.room)
      f(above_here + equal_here, i);
    above += __popc(aboves);
    equal += __popc(equals);
  }
}

}  // namespace subquad::kernels::cuda
