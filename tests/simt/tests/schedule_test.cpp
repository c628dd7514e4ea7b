// The order of threads and blocks depends on the seed and on nothing else.
#include <algorithm>
#include <cstdlib>
#include <set>
#include <vector>

#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

__global__ void write_down(int* count, int* order) {
  for (int round = 0; round < 2; ++round) {
    order[atomicAdd(count, 1)] =
        static_cast<int>((2 * blockIdx.x + static_cast<unsigned>(round)) * blockDim.x + threadIdx.y * 32 + threadIdx.x);
    __syncthreads();
  }
}

constexpr Size kTwoBlocks = {2, {32, 2}};

std::vector<int> order(std::uint64_t seed) {
  std::vector<int> written(256);
  int count = 0;
  run(seed, kTwoBlocks, write_down, &count, written.data());
  return written;
}

// Through the front door: the seed comes from the environment.
std::vector<int> order_of_launch() {
  std::vector<int> written(256);
  int count = 0;
  run_grid({reinterpret_cast<const void*>(write_down), kTwoBlocks.grid, kTwoBlocks.block, 0,
            [&] { write_down(&count, written.data()); }});
  return written;
}

__global__ void index_all(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  ++out[block * blockDim.x * blockDim.y * blockDim.z + thread];
}

__global__ void throws() {
  __syncthreads();
  if (threadIdx.x == 5) throw std::runtime_error("five");
  __syncthreads();
}

}  // namespace

TEST_CASE("simt: the same seed gives the same order, another one another") {
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    CHECK(order(seed) == order(seed));
    orders.insert(order(seed));
  }
  CHECK(orders.size() == 10);
}

TEST_CASE("simt: every launch has an order of its own") {
  CHECK(order_of_launch() != order_of_launch());
}

TEST_CASE("simt: every thread of every block runs once, whatever the shape") {
  for (const Size& size : {Size{{3, 4, 5}, {7, 3, 2}}, Size{1, 1}, Size{5, 1024}, Size{{1, 2}, {1, 1, 33}}}) {
    const auto volume = [](const dim3& d) { return std::size_t{d.x} * d.y * d.z; };
    std::vector<unsigned> out(volume(size.grid) * volume(size.block));
    run(9, size, index_all, out.data());
    CHECK(out == std::vector<unsigned>(out.size(), 1));
  }
}

TEST_CASE("simt: exceptions leave the kernel, and the next one runs") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<int> before = order(seed);
    CHECK_THROWS_WITH_AS(run(seed, {2, 512}, throws), "five", std::runtime_error);
    CHECK(order(seed) == before);
  }
}

TEST_CASE("simt: device functions outside of a kernel are an error") {
  CHECK_THROWS_AS(__syncthreads(), KernelError);
}

}  // namespace simt
