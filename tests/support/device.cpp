#include "subquad/tests/support/device.h"

namespace subquad::test {
namespace {
Device current = kCpu;
}

Device device() {
  return current;
}

void set_device(Device device) {
  current = device;
}

bool interpreted() {
  return !current.is_cpu() && device_name(current) == "SIMT interpreter";
}

}  // namespace subquad::test
