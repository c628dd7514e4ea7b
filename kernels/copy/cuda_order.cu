#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/copy/order.h"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kThreads = kDigits;  // one per digit where digits are counted
constexpr int kWarps = kThreads / kWarp;
constexpr int kRounds = 8;                            // keys of a thread
constexpr Index kChunk = Index{kThreads} * kRounds;   // keys of a block
constexpr Index kWarpChunk = Index{kWarp} * kRounds;  // of a warp: neighbouring ones, so that order is kept
constexpr int kCounters = kWarps * kDigits;           // one per warp and digit

// One digit of a key, as a lane sees it.
struct Digit {
  Index place = 0, key = 0;
  int value = 0;
  unsigned peers = 0;  // the lanes of this warp whose key has the same digit; 0 behind the last key
};

// The digit of round `round` of this thread. All lanes of the warp call.
__device__ Digit digit_of(const Index* keys, Index size, int shift, int round) {
  const int thread = static_cast<int>(threadIdx.x);
  Digit digit;
  digit.place = Index{blockIdx.x} * kChunk + thread / kWarp * kWarpChunk + round * kWarp + thread % kWarp;
  const bool present = digit.place < size;
  if (present) digit.key = keys[digit.place];
  digit.value = static_cast<int>(digit.key >> shift & (kDigits - 1));
  unsigned peers = __ballot_sync(kWholeWarp, present);
  for (int bit = 0; bit < kDigitBits; ++bit) {
    const bool set = (digit.value >> bit & 1) != 0;
    const unsigned with = __ballot_sync(kWholeWarp, set);
    peers &= set ? with : ~with;
  }
  if (present) digit.peers = peers;
  return digit;
}

// The peers in front of this lane.
__device__ int rank_of(const Digit& digit) {
  const unsigned below = (1u << (threadIdx.x % kWarp)) - 1;
  return __popc(digit.peers & below);
}

// Adds this round's digits to the warp's counters: the first of the peers counts for all.
__device__ void count_peers(const Digit& digit, int* counters) {
  __syncwarp();
  if (digit.peers != 0 && rank_of(digit) == 0) counters[digit.value] += __popc(digit.peers);
  __syncwarp();
}

// counters [warps, digits] of the block's chunk.
__device__ void count_chunk(const Index* keys, Index size, int shift, int* counters) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kCounters; i += kThreads) counters[i] = 0;
  __syncthreads();
  for (int round = 0; round < kRounds; ++round)
    count_peers(digit_of(keys, size, shift, round), counters + thread / kWarp * kDigits);
  __syncthreads();
}

// counts [chunks, digits]: one block per chunk; each warp counts neighbouring keys with counters of its own, then
// thread d adds up digit d.
__global__ void count_digits(const Index* keys, Index size, int shift, Index* counts) {
  int* const counters = SharedMemory().take<int>(kCounters);
  count_chunk(keys, size, shift, counters);
  Index sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += counters[warp * kDigits + static_cast<int>(threadIdx.x)];
  counts[Index{blockIdx.x} * kDigits + threadIdx.x] = sum;
}

// The sum of the values of this lane and those before it.
__device__ Index sum_of_lanes_up_to(Index value) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const Index before = __shfl_up_sync(kWholeWarp, value, offset);
    if (lane >= offset) value += before;
  }
  return value;
}

constexpr int kScanDigits = 8;   // of a block: 64 bytes of a row of counts
constexpr int kScanParts = 128;  // of the chunks: a thread for each and digit

// A block per 8 digits, in which thread (part, digit) has a 128th of the chunks, neighbouring ones: counts [chunks,
// digits] become the number of keys with that digit in the chunks before, totals [digits] the number in all. Counts are
// read twice (the second time from L2) and written once; a thread waits for chunks / 1024 loads after each other.
__global__ void __launch_bounds__(kScanDigits* kScanParts) scan_digits(Index chunks, Index* counts, Index* totals) {
  Index* const sums = SharedMemory().take<Index>(kScanDigits * kScanParts);  // [digit][part]
  const int digit = static_cast<int>(threadIdx.x) % kScanDigits, part = static_cast<int>(threadIdx.x) / kScanDigits;
  const Index each = (chunks + kScanParts - 1) / kScanParts, begin = part * each;
  const Index end = begin + each < chunks ? begin + each : chunks;
  Index* const column = counts + Index{blockIdx.x} * kScanDigits + digit;
  Index sum = 0;
#pragma unroll 8
  for (Index chunk = begin; chunk < end; ++chunk) sum += column[chunk * kDigits];
  sums[digit * kScanParts + part] = sum;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp < kScanDigits) {  // a warp per digit: from sums to sums of the parts before
    Index before = 0;
    for (int p = lane; p < kScanParts; p += kWarp) {
      Index& place = sums[warp * kScanParts + p];
      const Index here = place, up_to = sum_of_lanes_up_to(here);
      place = before + up_to - here;
      before += __shfl_sync(kWholeWarp, up_to, kWarp - 1);
    }
    if (lane == 0) totals[Index{blockIdx.x} * kScanDigits + warp] = before;
  }
  __syncthreads();
  Index before = sums[digit * kScanParts + part];
#pragma unroll 8
  for (Index chunk = begin; chunk < end; ++chunk) {
    const Index here = column[chunk * kDigits];
    column[chunk * kDigits] = before;
    before += here;
  }
}

// The sum of the values of the threads before this one; `scratch` has room for one value per warp.
__device__ Index sum_before(Index value, Index* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  Index sum = sum_of_lanes_up_to(value);
  if (lane == kWarp - 1) scratch[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += scratch[w];
  return sum - value;
}

// One block per chunk, as count_digits: every key goes behind the keys with a smaller digit, those with its own digit
// in chunks and warps before, and its peers in front. `places` is null in the first pass: a key's own place.
__global__ void place_keys(const Index* keys, const Index* places, Index size, int shift, const Index* counts,
                           const Index* totals, Index* sorted_keys, Index* sorted_places) {
  SharedMemory shared;
  int* const counters = shared.take<int>(kCounters);
  Index* const first = shared.take<Index>(kDigits);
  Index* const scratch = shared.take<Index>(kWarps);
  const int thread = static_cast<int>(threadIdx.x);
  count_chunk(keys, size, shift, counters);
  first[thread] = sum_before(totals[thread], scratch) + counts[Index{blockIdx.x} * kDigits + thread];
  for (int warp = 0, sum = 0; warp < kWarps; ++warp) {  // from counts to counts of the warps before
    int& counter = counters[warp * kDigits + thread];
    const int here = counter;
    counter = sum;
    sum += here;
  }
  __syncthreads();
  int* const mine = counters + thread / kWarp * kDigits;
  for (int round = 0; round < kRounds; ++round) {
    const Digit digit = digit_of(keys, size, shift, round);
    if (digit.peers != 0) {
      const Index to = first[digit.value] + mine[digit.value] + rank_of(digit);
      sorted_keys[to] = digit.key;
      sorted_places[to] = places == nullptr ? digit.place : places[digit.place];
    }
    count_peers(digit, mine);
  }
}

}  // namespace

Order order_by_key(const Tensor& keys, Index count) {
  const Index size = keys.size(), chunks = (size + kChunk - 1) / kChunk;
  const dim3 grid(blocks_for("order_by_key", size, kChunk)), block(kThreads);
  Tensor counts = empty({chunks, kDigits}, kInt64, keys.device()), totals = empty({kDigits}, kInt64, keys.device());
  const std::size_t place_bytes =
      shared_size<int>(kCounters) + shared_size<Index>(kDigits) + shared_size<Index>(kWarps);
  Order order{keys, {}};
  int shift = 0;
  do {
    Order next{empty({size}, kInt64, keys.device()), empty({size}, kInt64, keys.device())};
    const Index* from = order.keys.data<Index>();
    const Index* places = order.places.defined() ? order.places.data<Index>() : nullptr;
    launch(count_digits, grid, block, shared_size<int>(kCounters), current_stream(), from, size, shift,
           counts.data<Index>());
    launch(scan_digits, dim3(kDigits / kScanDigits), dim3(kScanDigits * kScanParts),
           shared_size<Index>(kScanDigits * kScanParts), current_stream(), chunks, counts.data<Index>(),
           totals.data<Index>());
    launch(place_keys, grid, block, place_bytes, current_stream(), from, places, size, shift, counts.data<Index>(),
           totals.data<Index>(), next.keys.data<Index>(), next.places.data<Index>());
    order = next;
    shift += kDigitBits;
  } while ((count - 1) >> shift > 0);
  return order;
}

}  // namespace subquad::kernels::cuda
