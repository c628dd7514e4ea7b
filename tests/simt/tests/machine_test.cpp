// What subquad says on machines that lack something: a GPU, a driver, a newer driver, memory.
#include <doctest/doctest.h>
#include <simt/machine.h>

#include <functional>

#include "subquad/core/allocator.h"
#include "subquad/core/check.h"
#include "subquad/core/cuda/launch.cuh"
#include "subquad/core/cuda/runtime.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/softmax/softmax.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

constexpr Device kCuda{DeviceType::cuda, 0};
constexpr Index kKib = 1024;

// Changes the machine for one test case.
struct Changed {
  explicit Changed(const std::function<void(simt::Machine&)>& change) { change(simt::machine()); }
  ~Changed() { simt::machine() = before; }
  simt::Machine before = simt::machine();
};

Tensor bytes(Index count) {
  return empty({count}, kUInt8, kCuda);
}

__global__ void nothing(int) {}

}  // namespace

TEST_CASE("machine: without a driver there is no device") {
  const Changed machine([](simt::Machine& m) { m.driver = 0; });
  CHECK_EQ(cuda_device_count(), 0);
  CHECK_THROWS_WITH_AS(parse_device("cuda"), "device: 'cuda' cannot be used: this machine has no CUDA driver; use cpu",
                       DeviceError);
}

TEST_CASE("machine: without a GPU there is no device") {
  const Changed machine([](simt::Machine& m) { m.devices = 0; });
  CHECK_EQ(cuda_device_count(), 0);
  CHECK_THROWS_WITH_AS(
      parse_device("cuda:1"),
      "device: 'cuda:1' cannot be used: this machine has no CUDA device that the driver shows; use cpu", DeviceError);
}

TEST_CASE("machine: a driver that is too old is named, and so is what it should be") {
  const Changed machine([](simt::Machine& m) { m.driver = 12040; });
  const char* const message =
      "cuda: the driver of this machine is for CUDA 12.4, older than CUDA 13.0 of this build; update the driver or use "
      "cpu";
  CHECK_THROWS_WITH_AS(cuda_device_count(), message, DeviceError);
  CHECK_THROWS_WITH_AS(parse_device("cuda"), message, DeviceError);
}

TEST_CASE("machine: a device that is not there") {
  CHECK_THROWS_WITH_AS(parse_device("cuda:1"),
                       "device: 'cuda:1' cannot be used: this machine has 1 CUDA device, cuda:0", DeviceError);
  CHECK_THROWS_WITH_AS(empty({1}, kFloat32, {DeviceType::cuda, 5}),
                       "cuda:5 does not exist: this machine has 1 CUDA device", DeviceError);
}

TEST_CASE("machine: two devices exchange tensors and do not mix them") {
  const Changed machine([](simt::Machine& m) { m.devices = 2; });
  const Device second = parse_device("cuda:1");
  CHECK_THROWS_WITH_AS(parse_device("cuda:2"),
                       "device: 'cuda:2' cannot be used: this machine has 2 CUDA devices, the last is cuda:1",
                       DeviceError);
  const Tensor a = full({2, 3}, 1, kFloat32, kCuda);
  const Tensor b = a.to(second);
  CHECK_EQ(b.device(), second);
  CHECK(test::same_bits(a, b));
  CHECK_GT(memory_stats(second).current_bytes, 0);
  CHECK_THROWS_WITH_AS(kernels::add(a, b), "add: b is [2, 3] float32 cuda:1, expected on cuda:0 like a", DeviceError);
  CHECK_THROWS_WITH_AS(kernels::add(a, a.to(kCpu)), "add: b is [2, 3] float32 cpu, expected on cuda:0 like a",
                       DeviceError);
}

TEST_CASE("machine: what is cached is given back before memory runs out") {
  release_cached_memory(kCuda);
  const std::size_t reserved = memory_stats(kCuda).reserved_bytes;
  const Changed machine([&](simt::Machine& m) { m.memory_bytes = reserved + 1024 * kKib; });
  { const Tensor passing = bytes(600 * kKib); }
  CHECK_EQ(memory_stats(kCuda).reserved_bytes, reserved + 640 * kKib);  // its size class
  const Tensor larger = bytes(900 * kKib);
  CHECK_EQ(memory_stats(kCuda).reserved_bytes, reserved + 960 * kKib);
}

TEST_CASE("machine: the op that runs out of memory is named, and the process goes on") {
  release_cached_memory(kCuda);
  reset_peak_memory(kCuda);
  const MemoryStats before = memory_stats(kCuda);
  const Changed machine([&](simt::Machine& m) { m.memory_bytes = before.reserved_bytes + 1024 * kKib; });
  const Tensor x = zeros({700, 256}, kFloat32, kCuda);  // 700 KiB
  const std::size_t in_use = before.current_bytes + 700 * kKib;
  CHECK_THROWS_WITH_AS(
      kernels::softmax(x),
      cat("softmax: out of memory on cuda:0: asked for ", 700 * kKib, " bytes, in use ", in_use, ", peak ", in_use)
          .c_str(),
      Error);
  CHECK_EQ(memory_stats(kCuda).current_bytes, in_use);
  CHECK_EQ(test::at(kernels::softmax(x.slice(0, 0, 100)), 0), doctest::Approx(1.0 / 256));
}

TEST_CASE("machine: profilers see a range per op") {
  const Tensor x = zeros({2, 4}, kFloat32, kCuda);
  const std::size_t before = simt::ranges_opened("softmax");
  kernels::softmax(x);
  CHECK_EQ(simt::ranges_opened("softmax"), before + 1);
}

TEST_CASE("machine: a launch that CUDA refuses names op, kernel and sizes") {
  cuda::activate(kCuda);
  const cuda::Range range("tickle");
  CHECK_THROWS_WITH_AS(
      cuda::launch(nothing, dim3(0), dim3(32, 2), 16, cuda::current_stream(), 1),
      "tickle: launch of subquad::(anonymous namespace)::nothing[abi:kernel](int) with grid [0, 1, 1], block [32, 2, "
      "1] and 16 bytes of shared memory failed: cudaErrorInvalidConfiguration (invalid configuration argument)",
      DeviceError);
  CHECK_THROWS_WITH_AS(cuda::check(cudaErrorInvalidValue, "cudaNonsense"),
                       "tickle: cudaNonsense failed: cudaErrorInvalidValue (invalid argument)", DeviceError);
}

TEST_CASE("machine: a grid has a largest size") {
  CHECK_EQ(cuda::blocks_for("op", 1025, 1024), 2u);
  CHECK_EQ(cuda::blocks_for("op", 0, 1024), 0u);
  CHECK_THROWS_WITH_AS(cuda::blocks_for("op", Index{1} << 40, 2),
                       "op: 1099511627776 items in blocks of 2 are more than one launch can take", Error);
}

TEST_CASE("machine: nothing waits in secret") {
  const Tensor x = full({100, 4}, 1, kFloat32, kCuda);
  const std::size_t before = simt::synchronisations();
  Tensor y = kernels::softmax(x);
  y = y.transpose(0, 1).contiguous().to(kFloat64);
  fill(y, 3);
  const Tensor z = full({4, 100}, 2, kFloat64, kCpu).to(kCuda);
  kernels::add(y, z);
  CHECK_EQ(simt::synchronisations(), before);
  CHECK_EQ(test::at(kernels::add(y, z), 0), 5);
}

}  // namespace subquad
