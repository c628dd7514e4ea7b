#include "subquad/bench/gpu/roofs.h"

#include <algorithm>
#include <memory>

#include "subquad/core/cuda/runtime.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/matmul/matmul.h"

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

namespace {

// So many random numbers; the same million again and again, since drawing takes long and only the time counts.
Tensor noise(Index count, Device device) {
  const Index drawn = std::min(count, Index{1} << 20), times = (count + drawn - 1) / drawn;
  const Tensor rows = normal({1, drawn}, device, 1, 1).expand({times, drawn}).contiguous();
  return rows.reshape({times * drawn}).slice(0, 0, count);
}

// Seconds that one copy of so many numbers takes, always of the same ones.
double copy_seconds(Device device, Index size, bool tiny) {
  const Tensor from = noise(size, device);
  const auto to = std::make_shared<Tensor>(zeros({size}, kFloat32, device));
  return time_on_gpu(device, {Prepared{[=] { copy(from, *to); }, nullptr, nullptr}}, tiny).median;
}

// The same by an elementwise kernel, into memory that it gets again and again.
double scale_seconds(Device device, Index size, bool tiny) {
  const Tensor from = noise(size, device);
  return time_on_gpu(device, {Prepared{[=] { kernels::mul_scalar(from, 2); }, nullptr, nullptr}}, tiny).median;
}

// From an eighth of the cache to half of it: what more is moved in what more time it takes, so that starting a kernel,
// which takes as long as the smaller one, does not count.
double cache_bandwidth(Device device, bool tiny, double (*seconds)(Device, Index, bool)) {
  const auto cache = static_cast<Index>(cuda::properties(device.ordinal).l2_bytes);
  const Index large = tiny ? 4096 : cache / 2 / 8, small = large / 4;  // both arrays together
  const double whole = seconds(device, large, tiny), more = whole - seconds(device, small, tiny);
  const double all = 8.0 * static_cast<double>(large) / whole;
  return more > 0 ? std::max(all, 8.0 * static_cast<double>(large - small) / more) : all;
}

// Operations per second of a large product. Rounding operands to bf16 reads and writes 6 bytes for each of their
// numbers, which is taken off at the speed of a copy.
double product_rate(Device device, Precision precision, double copied_bytes, bool tiny) {
  const Index size = tiny ? 32 : 8192;
  const Tensor a = noise(size * size, device).reshape({size, size}), b = a.clone();
  const auto run = [=] {
    const PrecisionGuard guard(precision);
    kernels::matmul(a, b);
  };
  const double extent = static_cast<double>(size),
               seconds = time_on_gpu(device, {{run, nullptr, nullptr}}, tiny).median;
  const double rounding = precision == Precision::bf16 && !tiny ? 12 * extent * extent / copied_bytes : 0;
  return 2 * extent * extent * extent / (seconds - rounding);
}

}  // namespace

Roofs measure_roofs(Device device, bool tiny) {
  Roofs roofs;
  const Index size = tiny ? 4096 : Index{64} << 20;
  roofs.bytes = 8.0 * static_cast<double>(size) / copy_seconds(device, size, tiny);
  for (const auto seconds : {copy_seconds, scale_seconds})
    roofs.cache_bytes = std::max({roofs.bytes, roofs.cache_bytes, cache_bandwidth(device, tiny, seconds)});
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
    roofs.flops[precision] = product_rate(device, precision, roofs.bytes, tiny);
  return roofs;
}

}  // namespace subquad::bench::gpu
