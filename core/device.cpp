#include "subquad/core/device.h"

#include <charconv>
#include <ostream>

#ifdef SUBQUAD_CUDA
#include "subquad/core/cuda/runtime.h"
#endif

namespace subquad {
namespace {

// Throws unless the ordinal names a CUDA device that can be used.
void check_cuda(std::string_view name, int ordinal) {
#ifdef SUBQUAD_CUDA
  const int count = cuda::device_count();
  if (count == 0)
    throw DeviceError(cat("device: '", name, "' cannot be used: this machine has no CUDA ",
                          cuda::has_driver() ? "device that the driver shows" : "driver", "; use cpu"));
  if (ordinal >= count)
    throw DeviceError(cat("device: '", name, "' cannot be used: this machine has ", count,
                          count == 1 ? " CUDA device, cuda:0" : " CUDA devices, the last is cuda:",
                          count == 1 ? "" : std::to_string(count - 1)));
#else
  (void)ordinal;
  throw DeviceError(
      cat("device: '", name,
          "' cannot be used: this build of subquad has no CUDA kernels (the machine was not asked); use cpu"));
#endif
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Device device) {
  if (device.is_cpu()) return out << "cpu";
  return out << "cuda:" << device.ordinal;
}

Device parse_device(std::string_view name) {
  if (name == "cpu") return kCpu;
  const std::string_view prefix = "cuda:";
  int ordinal = 0;
  bool valid = name == "cuda";
  if (name.starts_with(prefix)) {
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + prefix.size(), end, ordinal);
    valid = parsed.ec == std::errc() && parsed.ptr == end && ordinal >= 0;
  }
  if (!valid) throw DeviceError(cat("device: '", name, "' is unknown, expected cpu, cuda or cuda:<number>"));
  check_cuda(name, ordinal);
  return {DeviceType::cuda, ordinal};
}

int cuda_device_count() {
#ifdef SUBQUAD_CUDA
  return cuda::device_count();
#else
  return 0;
#endif
}

std::string device_name(Device device) {
#ifdef SUBQUAD_CUDA
  if (!device.is_cpu()) return cuda::properties(device.ordinal).name;
#endif
  return cat(device);
}

void synchronize(Device device) {
  on_device(
      device, [](auto) {}, [](auto) { cuda::synchronize(); }, nullptr);
}

}  // namespace subquad
