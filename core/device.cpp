#include "subquad/core/device.h"

#include <charconv>
#include <ostream>

namespace subquad {

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
  throw DeviceError(
      cat("device: '", name,
          "' cannot be used: this build of subquad has no CUDA kernels (the machine was not asked); use cpu"));
}

}  // namespace subquad
