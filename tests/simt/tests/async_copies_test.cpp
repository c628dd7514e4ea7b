// Asynchronous copies arrive when they are waited for, and not before.
#include <cmath>
#include <vector>

#include "subquad/kernels/warp/ptx.cuh"
#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

using namespace subquad::kernels::cuda;

enum class Fault { none, waits_for_too_few, reads_before_barrier };

// Two groups of one 16-byte copy per thread; each thread reads what its neighbour has fetched.
__global__ void fetch(Fault fault, const float* in, float* out) {
  float* const tile = shared<float>();
  const unsigned n = blockDim.x, i = threadIdx.x;
  for (unsigned group = 0; group < 2; ++group) {
    copy_async_16(tile + 4 * (group * n + i), in + 4 * (group * n + i));
    copy_async_commit();
  }
  if (fault == Fault::waits_for_too_few)
    copy_async_wait<1>();
  else
    copy_async_wait<0>();
  if (fault != Fault::reads_before_barrier) __syncthreads();
  const unsigned other = (i + 1) % n;
  for (unsigned group = 0; group < 2; ++group)
    for (unsigned k = 0; k < 4; ++k) out[4 * (group * n + i) + k] = tile[4 * (group * n + other) + k];
  __syncthreads();
  copy_async_wait<0>();
}

constexpr Size kOneBlock = {1, 64, 64 * 32};

struct Fetched {
  std::vector<float> in = std::vector<float>(64 * 8), out = in;

  Fetched() {
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  }
  bool right(std::size_t group) const {
    for (std::size_t i = 0; i < 64; ++i)
      for (std::size_t k = 0; k < 4; ++k)
        if (out[4 * (group * 64 + i) + k] != in[4 * (group * 64 + (i + 1) % 64) + k]) return false;
    return true;
  }
};

__global__ void fetch_or_zero(const float* in, float* out) {
  float* const tile = shared<float>();
  copy_async_4(tile, in);
  copy_async_4(tile + 1, nullptr, false);
  copy_async_16(tile + 4, nullptr, false);
  copy_async_commit();
  copy_async_wait<0>();
  for (int i = 0; i < 8; ++i) out[i] = tile[i];
}

// Two rounds through the same shared memory; whether a barrier keeps the second from overtaking readers of the first.
__global__ void fetch_twice(bool barrier, const float* in, float* out) {
  float* const tile = shared<float>();
  const unsigned n = blockDim.x, i = threadIdx.x;
  for (unsigned round = 0; round < 2; ++round) {
    copy_async_4(tile + i, in + round * n + i);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    out[round * n + i] = tile[(i + 1) % n];
    if (barrier) __syncthreads();
  }
}

__global__ void fetch_and_forget(int to, int from, const float* in) {
  copy_async_16(shared<float>() + to, in + from);
}
__global__ void fetch_beyond(const float* in) {
  copy_async_4(shared<float>() + 16, in);
}

}  // namespace

TEST_CASE("simt: asynchronous copies are there after wait and barrier") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Fetched data;
    run(seed, kOneBlock, fetch, Fault::none, data.in.data(), data.out.data());
    CHECK(data.right(0));
    CHECK(data.right(1));
  }
}

TEST_CASE("simt: a copy that is read before the wait for its group has not arrived") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Fetched data;
    run(seed, kOneBlock, fetch, Fault::waits_for_too_few, data.in.data(), data.out.data());
    CHECK(data.right(0));
    for (std::size_t i = 64 * 4; i < 64 * 8; ++i) CHECK(std::isnan(data.out[i]));
  }
}

TEST_CASE("simt: a thread that never waits for its copies is an error") {
  alignas(16) const float in[4] = {};
  CHECK_COMPLAINT("has returned without waiting for its asynchronous copies", Size{1, 1, 64}, fetch_and_forget, 0, 0,
                  in);
}

TEST_CASE("simt: copies of other threads need a barrier too") {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    Fetched data;
    run(seed, kOneBlock, fetch, Fault::reads_before_barrier, data.in.data(), data.out.data());
    wrong += data.right(0) && data.right(1) ? 0 : 1;
  }
  CHECK(wrong > 0);
}

TEST_CASE("simt: a copy to what others still read takes it away from them") {
  std::vector<float> in(128), out(128);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  for (const bool barrier : {true, false}) {
    int wrong = 0;
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      run(seed, {1, 64, 64 * 4}, fetch_twice, barrier, in.data(), out.data());
      for (std::size_t i = 0; i < 64; ++i) wrong += out[i] == in[(i + 1) % 64] ? 0 : 1;
    }
    CHECK((wrong > 0) == !barrier);
  }
}

TEST_CASE("simt: an asynchronous copy that is not valid writes zeros and reads nothing") {
  const float in = 5;
  std::vector<float> out(8);
  run(0, {1, 1, 32}, fetch_or_zero, &in, out.data());
  CHECK(out[0] == 5);
  CHECK(out[1] == 0);
  CHECK(std::isnan(out[2]));
  for (std::size_t i = 4; i < 8; ++i) CHECK(out[i] == 0);
}

TEST_CASE("simt: misaligned and misplaced asynchronous copies are errors") {
  alignas(16) const float in[16] = {};
  CHECK_COMPLAINT("not aligned", Size{1, 1, 64}, fetch_and_forget, 1, 0, in);
  CHECK_COMPLAINT("not aligned", Size{1, 1, 64}, fetch_and_forget, 0, 2, in);
  CHECK_COMPLAINT("outside of shared memory", Size{1, 1, 64}, fetch_beyond, in);
}

}  // namespace simt
