// Shuffles, votes and barriers of a warp.
#include <array>
#include <cstdint>
#include <vector>

#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

constexpr unsigned kAll = 0xffffffffu;

// out[lane * 4 ...]: what lane l receives from each kind of shuffle when every lane gives its number.
template <class T>
__global__ void shuffles(int width, T* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const T value = static_cast<T>(lane);
  T* const mine = out + 4 * threadIdx.x;
  mine[0] = __shfl_sync(kAll, value, 3 * lane + 1, width);
  mine[1] = __shfl_up_sync(kAll, value, 3, width);
  mine[2] = __shfl_down_sync(kAll, value, 3, width);
  mine[3] = __shfl_xor_sync(kAll, value, 5, width);
}

template <class T>
void check_shuffles() {
  for (const int width : {1, 2, 4, 8, 16, 32}) {
    CAPTURE(width);
    std::vector<T> out(4 * 64);
    run(static_cast<std::uint64_t>(width), {1, 64}, shuffles<T>, width, out.data());
    for (int i = 0; i < 64; ++i) {
      const int lane = i % 32, first = lane / width * width, end = first + width;
      const T* const got = &out[static_cast<std::size_t>(4 * i)];
      CHECK(got[0] == T(first + (3 * lane + 1) % width));
      CHECK(got[1] == T(lane - 3 < first ? lane : lane - 3));
      CHECK(got[2] == T(lane + 3 >= end ? lane : lane + 3));
      CHECK(got[3] == T((lane ^ 5) >= end ? lane : lane ^ 5));
    }
  }
}

__global__ void votes(unsigned* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  out[4 * threadIdx.x] = __ballot_sync(kAll, lane % 3 == 0);
  out[4 * threadIdx.x + 1] = static_cast<unsigned>(__any_sync(kAll, lane == 7) + 2 * __any_sync(kAll, 0));
  out[4 * threadIdx.x + 2] = static_cast<unsigned>(__all_sync(kAll, 1) + 2 * __all_sync(kAll, lane != 7));
  out[4 * threadIdx.x + 3] = lane < 16 ? __ballot_sync(0x0000ffffu, lane > 3) : __ballot_sync(0xffff0000u, lane > 20);
}

template <bool kWithBarrier>
__global__ void neighbours(int* out) {
  int* const tile = shared<int>();
  const unsigned lane = threadIdx.x % 32, first = threadIdx.x - lane;
  tile[threadIdx.x] = static_cast<int>(lane);
  if (kWithBarrier) __syncwarp();
  out[threadIdx.x] = tile[first + (lane + 1) % 32];
}

template <class Kernel>
int wrong_seeds(Kernel kernel) {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    std::array<int, 64> out = {};
    run(seed, {1, 64, 64 * sizeof(int)}, kernel, out.data());
    for (int i = 0; i < 64; ++i)
      if (out[static_cast<std::size_t>(i)] != (i + 1) % 32) {
        ++wrong;
        break;
      }
  }
  return wrong;
}

__global__ void half_a_warp_shuffles(float* out) {
  if (threadIdx.x < 16) *out = __shfl_sync(kAll, 1.0f, 0);
}
constexpr int kOneShuffle = __LINE__ + 3, kOtherShuffle = __LINE__ + 5;
__global__ void two_shuffles_for_one(float* out) {
  if (threadIdx.x < 16)
    *out = __shfl_sync(kAll, 1.0f, 0);
  else
    *out = __shfl_sync(kAll, 2.0f, 0);
}
__global__ void shuffle_from_a_lane_that_is_not_there(float* out) {
  if (threadIdx.x < 16) *out = __shfl_sync(0x0000ffffu, 1.0f, 20);
}
__global__ void shuffle_of_others(float* out) {
  if (threadIdx.x == 20) *out = __shfl_sync(0x0000ffffu, 1.0f, 0);
}
__global__ void shuffle_in_segments_of_three(float* out) {
  *out = __shfl_sync(kAll, 1.0f, 0, 3);
}
__global__ void whole_warp_of_half_a_warp() {
  __syncwarp();
}

}  // namespace

TEST_CASE("simt: shuffles of every width and type") {
  check_shuffles<int>();
  check_shuffles<unsigned>();
  check_shuffles<std::int64_t>();
  check_shuffles<unsigned long long>();
  check_shuffles<float>();
  check_shuffles<double>();
}

TEST_CASE("simt: votes of a warp and of parts of it") {
  std::vector<unsigned> out(4 * 64);
  run(3, {1, 64}, votes, out.data());
  for (std::size_t i = 0; i < 64; ++i) {
    CHECK(out[4 * i] == 0x49249249u);
    CHECK(out[4 * i + 1] == 1);
    CHECK(out[4 * i + 2] == 1);
    CHECK(out[4 * i + 3] == (i % 32 < 16 ? 0x0000fff0u : 0xffe00000u));
  }
}

TEST_CASE("simt: a missing __syncwarp shows as a wrong result") {
  CHECK(wrong_seeds(neighbours<true>) == 0);
  CHECK(wrong_seeds(neighbours<false>) > 0);
}

TEST_CASE("simt: a shuffle that not all of its lanes reach is an error") {
  float out = 0;
  CHECK_COMPLAINT("half_a_warp_shuffles, block (", Size{2, 64}, half_a_warp_shuffles, &out);
  CHECK_COMPLAINT("returned", Size{2, 64}, half_a_warp_shuffles, &out);
  CHECK_COMPLAINT("warp_test.cpp:" + std::to_string(kOneShuffle), Size{1, 32}, two_shuffles_for_one, &out);
  CHECK_COMPLAINT("warp_test.cpp:" + std::to_string(kOtherShuffle), Size{1, 32}, two_shuffles_for_one, &out);
  CHECK_COMPLAINT("has only 0xffff", Size{1, 16}, whole_warp_of_half_a_warp);
}

TEST_CASE("simt: a shuffle must read from one of its lanes, and be called by them") {
  float out = 0;
  CHECK_COMPLAINT("reads from lane 20, which is not among 0xffff", Size{1, 32}, shuffle_from_a_lane_that_is_not_there,
                  &out);
  CHECK_COMPLAINT("for lanes 0xffff, not its own", Size{1, 32}, shuffle_of_others, &out);
  CHECK_COMPLAINT("width 3", Size{1, 32}, shuffle_in_segments_of_three, &out);
}

}  // namespace simt
