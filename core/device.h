// Where a tensor lives and where its kernels run.
#pragma once

#include <atomic>
#include <iosfwd>
#include <string>
#include <string_view>

#include "subquad/core/error.h"

namespace subquad {

enum class DeviceType { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int ordinal = 0;

  bool is_cpu() const { return type == DeviceType::cpu; }
  friend bool operator==(const Device&, const Device&) = default;
};

inline constexpr Device kCpu{DeviceType::cpu, 0};

std::ostream& operator<<(std::ostream& out, Device device);  // cpu, cuda:0

// "cpu", "cuda" or "cuda:1". DeviceError for any other spelling, and for a CUDA device that cannot be used: the message
// says whether the build lacks CUDA or the machine lacks a GPU.
Device parse_device(std::string_view name);

// How many CUDA devices there are: 0 in a build without CUDA and on a machine without a GPU. DeviceError when there is
// a GPU whose driver is older than the CUDA runtime of this build (both versions are named).
int cuda_device_count();

// What the device is called: "cpu", "NVIDIA H200", or "SIMT interpreter" where the tests run CUDA kernels on the CPU.
std::string device_name(Device device);

// Waits until the device has done all that was asked of it, then throws what a kernel has reported
// (core/cuda/report.h). Nothing to do for the CPU.
void synchronize(Device device);

namespace cuda {

void activate(Device device);  // makes it the device that CUDA calls of this thread speak to
void synchronize();

// The op that runs: profilers show it (NVTX), error messages name it (core/cuda/range.h). Ranges nest; `op` must
// outlive the range (a literal). With nullptr nothing is opened.
class Range {
 public:
  explicit Range(const char* op);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  const char* op_;
  const char* before_;
};

}  // namespace cuda

// Work of an op by its contract, a multiplication and an addition being two: what profiles hold its time against.
struct Flops {
  double count = 0;
};

// Tells the Profile (core/profile.h) that is being made, if there is one, that `op` begins, and that it ends.
class OpScope {
 public:
  OpScope(Device device, const char* op, Flops flops)
      : begun_(op != nullptr && profiling.load(std::memory_order_relaxed)) {
    if (begun_) begin(device, op, flops);
  }
  ~OpScope() {
    if (begun_) end();
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  static std::atomic<bool> profiling;

 private:
  static void begin(Device device, const char* op, Flops flops);
  static void end() noexcept;

  const bool begun_;
};

// Runs the first function for a CPU tensor and the second for a CUDA tensor, with its device activated and inside the
// Range of `op`: the function that calls this, whose name is the op's. The second is a generic lambda
// ([&](auto) { cuda::f(...); }) so that it is compiled only in builds that have CUDA. With nullptr it is no op: no name
// is shown and no profile holds it.
template <class OnCpu, class OnCuda>
decltype(auto) on_device(Device device, OnCpu&& on_cpu, OnCuda&& on_cuda, Flops flops,
                         const char* op = __builtin_FUNCTION()) {
  const OpScope scope(device, op, flops);
#ifdef SUBQUAD_CUDA
  if (!device.is_cpu()) {
    cuda::activate(device);
    const cuda::Range range(op);
    return on_cuda(device);
  }
#else
  (void)on_cuda;
  if (!device.is_cpu()) throw InternalError("a CUDA tensor in a build without CUDA");
#endif
  return on_cpu(device);
}

template <class OnCpu, class OnCuda>
decltype(auto) on_device(Device device, OnCpu&& on_cpu, OnCuda&& on_cuda, const char* op = __builtin_FUNCTION()) {
  return on_device(device, on_cpu, on_cuda, Flops(), op);
}

}  // namespace subquad
