// A launch is refused where a GPU would refuse it, with the same error.
#include <simt/machine.h>

#include <string>

#include "subquad/tests/simt/tests/run.h"

namespace simt {
namespace {

__global__ void nothing(int) {}
template <class T>
__global__ void also_nothing(T) {}

void no_kernel(int) {}

struct Shape {
  dim3 grid = 1, block = 32;
  std::size_t shared_bytes = 0;
};

cudaError_t launched(void (*kernel)(int), const Shape& shape) {
  cudaLaunchConfig_t config;
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  return check_launch(reinterpret_cast<const void*>(kernel), config);
}

const void* address(void (*kernel)(int)) {
  return reinterpret_cast<const void*>(kernel);
}

}  // namespace

TEST_CASE("simt: grids and blocks that a GPU refuses are refused") {
  CHECK(launched(nothing, {{0x7fffffffu, 65535, 65535}, 1024}) == cudaSuccess);
  CHECK(launched(nothing, {1, {32, 32}}) == cudaSuccess);
  CHECK(launched(nothing, {0, 32}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {1, 0}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {1, 1025}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {1, {32, 33}}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {1, {1, 1, 65}}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {0x80000000u, 32}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {{1, 65536}, 32}) == cudaErrorInvalidConfiguration);
  CHECK(launched(nothing, {{1, 1, 65536}, 32}) == cudaErrorInvalidConfiguration);
  CHECK(launched(no_kernel, {}) == cudaErrorInvalidDeviceFunction);
  CHECK(launched(nullptr, {}) == cudaErrorInvalidDeviceFunction);
}

TEST_CASE("simt: more than 48 KiB of shared memory must be asked for") {
  constexpr std::size_t kKib = 1024;
  const auto allow = [](void (*kernel)(int), std::size_t bytes) {
    return cudaFuncSetAttribute(address(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  };
  void (*const other)(int) = also_nothing<int>;
  CHECK(launched(nothing, {1, 32, 48 * kKib}) == cudaSuccess);
  CHECK(launched(nothing, {1, 32, 48 * kKib + 1}) == cudaErrorInvalidValue);
  CHECK(allow(nothing, 227 * kKib) == cudaSuccess);
  CHECK(launched(nothing, {1, 32, 227 * kKib}) == cudaSuccess);
  CHECK(launched(nothing, {1, 32, 227 * kKib + 1}) == cudaErrorInvalidValue);
  CHECK(launched(other, {1, 32, 48 * kKib + 1}) == cudaErrorInvalidValue);
  CHECK(allow(nothing, 227 * kKib + 1) == cudaErrorInvalidValue);
  machine().shared_bytes = 99 * kKib;
  CHECK(allow(nothing, 99 * kKib + 1) == cudaErrorInvalidValue);
  CHECK(allow(nothing, 99 * kKib) == cudaSuccess);
  CHECK(launched(nothing, {1, 32, 99 * kKib + 1}) == cudaErrorInvalidValue);
  machine().shared_bytes = 227 * kKib;
  CHECK(allow(no_kernel, 1) == cudaErrorInvalidDeviceFunction);
}

TEST_CASE("simt: kernels have names") {
  const char* name = nullptr;
  CHECK(cudaFuncGetName(&name, address(also_nothing<int>)) == cudaSuccess);
  CHECK(contains(name, "also_nothingB6kernelIiE"));
  CHECK(kernel_name(address(also_nothing<int>)) == "simt::also_nothing<int>");
  CHECK(kernel_name(address(nothing)) == "simt::nothing");
  CHECK(cudaFuncGetName(&name, &name) == cudaErrorInvalidDeviceFunction);
}

}  // namespace simt
