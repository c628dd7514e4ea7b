#include <simt/launch.h>
#include <simt/machine.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "subquad/tests/simt/coverage.h"
#include "subquad/tests/simt/scheduler.h"

namespace simt {
namespace {

// Limits of all compute capabilities; machine() knows how much more shared memory may be asked for.
constexpr std::size_t kSharedAlways = std::size_t{48} << 10;
constexpr unsigned kBlockAtMost[] = {1024, 1024, 64}, kThreadsAtMost = 1024;
constexpr unsigned kGridAtMost[] = {0x7fffffffu, 65535, 65535};

std::mutex mutex;  // one grid at a time; guards what follows
std::map<const void*, std::size_t> shared_allowed;
std::uint64_t launches = 0;

std::size_t allowed(const void* kernel) {
  const std::scoped_lock lock(mutex);
  const auto found = shared_allowed.find(kernel);
  return found == shared_allowed.end() ? kSharedAlways : std::max(found->second, kSharedAlways);
}

bool is_kernel(const void* function) {
  const char* const name = symbol(function);
  return name != nullptr && std::strstr(name, "B6kernel") != nullptr;
}

bool fits(const dim3& size, const unsigned (&limits)[3]) {
  const auto in = [](unsigned n, unsigned limit) { return n >= 1 && n <= limit; };
  return in(size.x, limits[0]) && in(size.y, limits[1]) && in(size.z, limits[2]);
}

std::uint64_t chosen_seed() {
  const char* const text = std::getenv("SUBQUAD_SIMT_SEED");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

}  // namespace

cudaError_t check_launch(const void* kernel, const cudaLaunchConfig_t& config) {
  const dim3& block = config.blockDim;
  if (!is_kernel(kernel)) return cudaErrorInvalidDeviceFunction;
  if (!fits(config.gridDim, kGridAtMost) || !fits(block, kBlockAtMost)) return cudaErrorInvalidConfiguration;
  if (block.x * block.y * block.z > kThreadsAtMost) return cudaErrorInvalidConfiguration;
  return config.dynamicSmemBytes > allowed(kernel) || config.numAttrs != 0 ? cudaErrorInvalidValue : cudaSuccess;
}

void run_grid(const Launch& launch, std::uint64_t seed) {
  static Scheduler& scheduler = *new Scheduler;  // its fibers outlive all destructors
  const std::scoped_lock lock(mutex);
  note_launch(launch, seed);
  scheduler.run(launch, seed);
}

void run_grid(const Launch& launch) {
  std::uint64_t number = 0;
  {
    const std::scoped_lock lock(mutex);
    number = launches++;
  }
  Random mix(chosen_seed());
  run_grid(launch, mix() + number);
}

}  // namespace simt

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (!simt::is_kernel(kernel)) return cudaErrorInvalidDeviceFunction;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorNotSupported;
  if (value < 0 || static_cast<std::size_t>(value) > simt::machine().shared_bytes) return cudaErrorInvalidValue;
  const std::scoped_lock lock(simt::mutex);
  simt::shared_allowed[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
