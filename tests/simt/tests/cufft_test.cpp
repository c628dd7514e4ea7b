// The stand-in of cuFFT, the cache of its plans, and how refused calls become errors.
#include <cufft.h>

#include <string>
#include <vector>

#include "subquad/core/graph.h"
#include "subquad/kernels/cufft/transform.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

using kernels::cuda::cufft;
using kernels::cuda::CufftLines;
using kernels::cuda::kCufftPlans;
using kernels::cuda::LineTransformKind;

namespace {

constexpr Device kDevice = {DeviceType::cuda, 0};

cufftResult make_plan(long long n, long long batch, bool allocate) {
  cufftHandle plan = -1;
  std::size_t bytes = 0;
  REQUIRE_EQ(cufftCreate(&plan), CUFFT_SUCCESS);
  if (!allocate) CHECK_EQ(cufftSetAutoAllocation(plan, 0), CUFFT_SUCCESS);
  const cufftResult made = cufftMakePlanMany64(plan, 1, &n, &n, 1, n, &n, 1, n, CUFFT_C2C, batch, &bytes);
  CHECK_EQ(cufftDestroy(plan), CUFFT_SUCCESS);
  return made;
}

// A line of float32 numbers, forward, that the plan of its length makes: its first number is their sum.
double sum_by_cufft(Index n) {
  const Tensor x = kernels::pairs_to_complex(full({n, 2}, 1, kFloat32, kDevice));
  Tensor out = empty_like(x);
  cufft(LineTransformKind::forward, {kFloat32, 1, n, 1}, x.bytes(), out.bytes());
  return at(kernels::complex_to_pairs(out), 0);
}

}  // namespace

TEST_CASE("cufft refuses what the library refuses") {
  float2 number = {};
  CHECK_EQ(make_plan(8, 2, false), CUFFT_SUCCESS);
  CHECK_EQ(make_plan(0, 2, false), CUFFT_INVALID_SIZE);
  CHECK_EQ(make_plan(8, 0, false), CUFFT_INVALID_SIZE);
  CHECK_EQ(make_plan(8, 2, true), CUFFT_NOT_SUPPORTED);
  CHECK_EQ(cufftDestroy(-1), CUFFT_INVALID_PLAN);
  CHECK_EQ(cufftSetStream(-1, nullptr), CUFFT_INVALID_PLAN);
  CHECK_EQ(cufftExecC2C(-1, &number, &number, CUFFT_FORWARD), CUFFT_INVALID_PLAN);
}

TEST_CASE("cufft: a refused call is a DeviceError that names it") {
  cuda::activate(kDevice);
  const CufftLines none = {kFloat32, 1, 0, 1}, few = {kFloat32, 1, 4, 1};
  CHECK_THROWS_WITH_AS(cufft(LineTransformKind::forward, none, nullptr, nullptr),
                       "cufftMakePlanMany64: CUFFT_INVALID_SIZE (8)", DeviceError);
  CHECK_THROWS_WITH_AS(cufft(LineTransformKind::forward, few, nullptr, nullptr), "cufftExec: CUFFT_INVALID_VALUE (4)",
                       DeviceError);
}

TEST_CASE("cufft keeps few plans, and makes forgotten ones again") {
  cuda::activate(kDevice);
  for (int round = 0; round < 2; ++round)
    for (Index n = 1; n <= 2 * kCufftPlans; ++n) CHECK(sum_by_cufft(n) == static_cast<double>(n));
}

TEST_CASE("cufft in a recording: plans are there before, and stay as long as its graph") {
  cuda::activate(kDevice);
  const Index n = 10007;  // a prime, too long for kernels/fft
  Tensor x = normal({2 * n}, kFloat32, 1).to(kDevice), out;
  CHECK_THROWS_WITH_AS(
      Graph::capture(kDevice, [&] { out = kernels::rfft(x, 0); }),
      doctest::Contains("rfft: the first transform of 1 lines of 20014 numbers falls into a recording"), Error);
  const Tensor before = kernels::rfft(x, 0);
  Graph graph = Graph::capture(kDevice, [&] { out = kernels::rfft(x, 0); });
  graph.replay();
  CHECK(same_bits(out, before));
  for (Index other = 1; other <= 2 * kCufftPlans; ++other) sum_by_cufft(other);
  sum_by_cufft(4 * n);  // wants a larger work area
  const Tensor next = normal({2 * n}, kFloat32, 2).to(kDevice);
  copy(next, x);
  graph.replay();
  CHECK(same_bits(out, kernels::rfft(next, 0)));
}

}  // namespace subquad::test
