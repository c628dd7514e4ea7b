#include "subquad/bench/gpu/roofs.h"

#include <algorithm>
#include <memory>

#include "subquad/core/cuda/runtime.h"

namespace subquad::bench::gpu {

int cold_sets(Device device, double bytes) {
  const double cache = static_cast<double>(cuda::properties(device.ordinal).l2_bytes);
  return static_cast<int>(std::clamp(4 * cache / bytes + 1, 1.0, 64.0));
}

Timing measure_cold(Device device, const Case& c, bool tiny) {
  std::vector<Prepared> sets;
  for (int i = 0; i < (tiny ? 2 : cold_sets(device, c.bytes)); ++i)
    sets.push_back(c.prepare(static_cast<std::uint64_t>(i + 1)));
  return time_on_gpu(device, std::move(sets), tiny);
}

Roofs measure_roofs(Device device, bool tiny) {
  Roofs roofs;
  const Index size = tiny ? 4096 : Index{128} << 20;
  const auto from = std::make_shared<Tensor>(zeros({size}, kFloat32, device));
  const auto to = std::make_shared<Tensor>(zeros({size}, kFloat32, device));
  const Timing copying = time_on_gpu(device, {Prepared{[=] { copy(*from, *to); }, nullptr, nullptr}}, tiny);
  roofs.bytes = 8.0 * static_cast<double>(size) / copying.median;
  for (const Case& c : matmul_cases(device, tiny))
    if (!roofs.flops.contains(c.precision)) roofs.flops[c.precision] = c.flops / measure_cold(device, c, tiny).median;
  return roofs;
}

}  // namespace subquad::bench::gpu
