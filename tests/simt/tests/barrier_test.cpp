// Barriers of a block: what goes wrong without them, and what they say when threads do not meet.
#include <vector>

#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

constexpr unsigned kThreads = 96;
constexpr Size kBlocks = {3, kThreads, kThreads * sizeof(int)};

enum class Fault { none, no_barrier_before_reading, no_barrier_after_reading };

// Each thread reads what the thread one warp further on has written, twice.
__global__ void pass_on(Fault fault, int* out) {
  int* const tile = shared<int>();
  int sum = 0;
  for (int round = 1; round <= 2; ++round) {
    tile[threadIdx.x] = round * static_cast<int>(threadIdx.x);
    if (fault != Fault::no_barrier_before_reading) __syncthreads();
    sum += tile[(threadIdx.x + 32) % kThreads];
    if (fault != Fault::no_barrier_after_reading) __syncthreads();
  }
  out[blockIdx.x * kThreads + threadIdx.x] = sum;
}

bool right(std::uint64_t seed, Fault fault) {
  std::vector<int> out(3 * kThreads);
  run(seed, kBlocks, pass_on, fault, out.data());
  for (unsigned i = 0; i < out.size(); ++i)
    if (out[i] != 3 * static_cast<int>((i + 32) % kThreads)) return false;
  return true;
}

int wrong_seeds(Fault fault) {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) wrong += right(seed, fault) ? 0 : 1;
  return wrong;
}

__global__ void count_votes(int* out) {
  const int thread = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(thread % 3 == 0);
  const int any = __syncthreads_or(thread == 95), none = __syncthreads_or(0);
  const int all = __syncthreads_and(1), not_all = __syncthreads_and(thread != 50);
  out[thread] = count + 100 * any + 1000 * all + 10000 * (none + not_all);
}

__global__ void some_return_early() {
  if (threadIdx.x >= 90) return;
  __syncthreads();
}
constexpr int kOneBarrier = __LINE__ + 3, kOtherBarrier = __LINE__ + 5;
__global__ void warps_disagree() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void a_lane_stays_away() {
  if (threadIdx.x == 40)
    __syncthreads();
  else
    __syncwarp();
}

}  // namespace

TEST_CASE("simt: a missing barrier shows as a wrong result") {
  CHECK(wrong_seeds(Fault::none) == 0);
  CHECK(wrong_seeds(Fault::no_barrier_before_reading) > 0);
  CHECK(wrong_seeds(Fault::no_barrier_after_reading) > 0);
}

TEST_CASE("simt: barriers that count and vote") {
  std::vector<int> out(kThreads);
  run(1, {1, kThreads}, count_votes, out.data());
  CHECK(out == std::vector<int>(kThreads, 32 + 100 + 1000));
}

TEST_CASE("simt: a thread that returns while others wait at a barrier is an error") {
  CHECK_COMPLAINT("has returned", Size{2, kThreads}, some_return_early);
}

TEST_CASE("simt: warps that wait at different barriers are an error which names both") {
  const std::string what = complaint(0, {1, 64}, warps_disagree);
  CHECK(contains(what, "barrier_test.cpp:" + std::to_string(kOneBarrier)));
  CHECK(contains(what, "barrier_test.cpp:" + std::to_string(kOtherBarrier)));
  CHECK_COMPLAINT("simt::warps_disagree, block (0, 0, 0), thread (", Size{1, 64}, warps_disagree);
}

TEST_CASE("simt: a lane at the barrier of its block while its warp waits for it is an error") {
  CHECK_COMPLAINT("waits in __sync", Size{1, 64}, a_lane_stays_away);
}

}  // namespace simt
