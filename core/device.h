// Where a tensor lives and where its kernels run.
#pragma once

#include <iosfwd>
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

// Runs the first function for a CPU tensor and the second for a CUDA tensor. The second is a generic lambda
// ([&](auto) { cuda::f(...); }) so that it is compiled only in builds that have CUDA.
template <class OnCpu, class OnCuda>
decltype(auto) on_device(Device device, OnCpu&& on_cpu, OnCuda&& on_cuda) {
#ifdef SUBQUAD_CUDA
  if (!device.is_cpu()) return on_cuda(device);
#else
  (void)on_cuda;
  if (!device.is_cpu()) throw InternalError("a CUDA tensor in a build without CUDA");
#endif
  return on_cpu(device);
}

}  // namespace subquad
