// kernels/warp/reduce.cuh: sums and maxima of warps and blocks.
#include <limits>
#include <vector>

#include "subquad/kernels/warp/reduce.cuh"
#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

using namespace subquad::kernels::cuda;

template <class T>
struct Results {
  T warp_sum, warp_max, block_sum, block_max;
};

// Thread i of block b gives 1000 b + i; the scratch is used twice without a barrier between.
template <class T>
__global__ void reduce(Results<T>* out) {
  const T value = static_cast<T>(1000 * blockIdx.x + threadIdx.x);
  T* const scratch = shared<T>();
  Results<T>& mine = out[blockIdx.x * blockDim.x + threadIdx.x];
  mine.warp_sum = warp_sum(value);
  mine.warp_max = warp_max(value);
  mine.block_sum = block_sum(value, scratch);
  mine.block_max = block_reduce<Max>(value, std::numeric_limits<T>::lowest(), scratch);
}

template <class T>
void check_reduce() {
  for (const unsigned threads : {32u, 64u, 96u, 256u, 1024u}) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      std::vector<Results<T>> out(2 * threads);
      run(seed, {2, threads, 32 * sizeof(T)}, reduce<T>, out.data());
      for (unsigned i = 0; i < out.size(); ++i) {
        const unsigned first = 1000 * (i / threads), in_block = i % threads, warp = first + in_block / 32 * 32;
        CHECK(out[i].warp_sum == T(32 * warp + 496));
        CHECK(out[i].warp_max == T(warp + 31));
        CHECK(out[i].block_sum == T(threads * first + threads * (threads - 1) / 2));
        CHECK(out[i].block_max == T(first + threads - 1));
      }
    }
  }
}

}  // namespace

TEST_CASE("warp and block reductions reach every thread") {
  check_reduce<int>();
  check_reduce<float>();
  check_reduce<double>();
}

}  // namespace simt
