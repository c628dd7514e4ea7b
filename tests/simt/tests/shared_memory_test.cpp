// Shared memory is NaN until it is written, and bounded.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <vector>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

__global__ void sum_of_what_nothing_wrote(int written, float* out) {
  float* const tile = shared<float>();
  if (static_cast<int>(threadIdx.x) < written) tile[threadIdx.x] = 1;
  __syncthreads();
  float sum = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) sum += tile[i];
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void write_at(int place) {
  if (threadIdx.x == 0) shared<unsigned char>()[place] = 1;
}

__global__ void take_pieces(bool* aligned) {
  subquad::cuda::SharedMemory memory;
  char* const one = memory.take<char>(1);
  double* const two = memory.take<double>(3);
  float* const three = memory.take<float>(1);
  *aligned = reinterpret_cast<char*>(two) == one + 16 && reinterpret_cast<char*>(three) == one + 48 &&
             reinterpret_cast<std::uintptr_t>(one) % 16 == 0;
}

// Whether writing one byte at `place` of 100 is noticed: by AddressSanitizer, which ends the process, or by the fences.
bool noticed(int place) {
#ifdef __SANITIZE_ADDRESS__
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    run(0, {2, 32, 100}, write_at, place);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status != 0;
#else
  return complaint(0, {2, 32, 100}, write_at, place).ends_with("wrote outside of its 100 bytes of shared memory");
#endif
}

}  // namespace

TEST_CASE("simt: shared memory that nothing wrote is NaN, in every block") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    std::vector<float> out(3);
    run(seed, {3, 64, 256}, sum_of_what_nothing_wrote, 64, out.data());
    for (const float sum : out) CHECK(sum == 64);
    run(seed, {3, 64, 256}, sum_of_what_nothing_wrote, 63, out.data());
    for (const float sum : out) CHECK(std::isnan(sum));
  }
}

TEST_CASE("simt: a write outside of shared memory is an error") {
  CHECK_FALSE(noticed(0));
  CHECK_FALSE(noticed(99));
  CHECK(noticed(100));
  CHECK(noticed(150));
  CHECK(noticed(-1));
}

TEST_CASE("simt: pieces of shared memory are aligned to 16 bytes") {
  bool aligned = false;
  run(0, {1, 1, 64}, take_pieces, &aligned);
  CHECK(aligned);
}

}  // namespace simt
