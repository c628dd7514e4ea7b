#include "subquad/examples/lra/profile/roofs.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iomanip>
#include <limits>
#include <numeric>
#include <sstream>

#include "subquad/core/parallel.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/peak/bandwidth.h"
#include "subquad/kernels/peak/peak.h"

namespace subquad::lra {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kKiB = 1024, kMiB = 1024 * kKiB;

double seconds_of(const std::function<void()>& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The best of a few runs.
double least_seconds(int runs, const std::function<void()>& work) {
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) least = std::min(least, seconds_of(work));
  return least;
}

// What all threads measure at the same time, added up.
double sum_over_threads(const std::function<double()>& measure) {
  std::vector<double> rates(static_cast<std::size_t>(num_threads()));
  constexpr Index kMuch = 1 << 30;  // of work: or the loop would be serial
  parallel_for(num_threads(), kMuch, [&](Index i) { rates[static_cast<std::size_t>(i)] = measure(); });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

// Each thread moves bytes of its own; what fits one thread's cache may be moved faster by one alone.
Bandwidth cpu_bandwidth(std::size_t bytes) {
  const auto threads = static_cast<std::size_t>(num_threads());
  const double alone = kernels::bandwidth(bytes);
  const double together = threads > 1 ? sum_over_threads([&] { return kernels::bandwidth(bytes / threads); }) : alone;
  return {static_cast<double>(bytes), std::max(alone, together)};
}

Roofs cpu_roofs() {
  Roofs roofs;
  roofs.flops = sum_over_threads([] { return kernels::fma_peak(kFloat32); });
  for (std::size_t bytes = std::size_t{16} << 10; bytes <= std::size_t{256} << 20; bytes *= 4)
    roofs.levels.push_back(cpu_bandwidth(bytes));
  return roofs;
}

constexpr double kLongEnough = 2e-3;  // seconds: starting and waiting for the device are little of it

double gpu_flops(Device device) {
  double rate = 0;
  for (Index n = 64; n <= 8192; n *= 2) {
    const Tensor a = full({n, n}, 0.5, kFloat32, device), b = full({n, n}, 0.25, kFloat32, device);
    const double seconds = least_seconds(3, [&] {
      kernels::matmul(a, b);
      synchronize(device);
    });
    rate = std::max(rate, 2 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds);
    if (seconds > kLongEnough) break;
  }
  return rate;
}

Bandwidth gpu_copy(Device device) {
  Bandwidth found;
  for (Index n = Index{1} << 12; n <= Index{1} << 30; n *= 4) {
    const Tensor from = zeros({n}, kFloat32, device);
    Tensor to = empty({n}, kFloat32, device);
    const double seconds = least_seconds(3, [&] {
      copy(from, to);
      synchronize(device);
    });
    found = {8 * static_cast<double>(n), 8 * static_cast<double>(n) / seconds};
    if (seconds > kLongEnough) break;
  }
  return found;
}

std::string size_text(double bytes) {
  return bytes < kMiB ? cat(static_cast<Index>(bytes / kKiB), " KiB") : cat(static_cast<Index>(bytes / kMiB), " MiB");
}

}  // namespace

double Roofs::seconds(double operations, double bytes) const {
  if (levels.empty()) return 0;
  const auto fits = [&](const Bandwidth& level) { return bytes <= level.bytes; };
  const auto found = std::find_if(levels.begin(), levels.end(), fits);
  const double rate = found == levels.end() ? levels.back().rate : found->rate;
  return std::max(bytes / rate, flops > 0 ? operations / flops : 0);
}

std::string Roofs::text() const {
  std::ostringstream out;
  out << std::fixed << std::setprecision(0) << flops * 1e-9 << " GFLOP/s; GB/s moved, by size:";
  for (const Bandwidth& level : levels) out << "  " << size_text(level.bytes) << ' ' << level.rate * 1e-9;
  return out.str();
}

Roofs measure_roofs(Device device, Precision precision) {
  if (device.is_cpu()) return cpu_roofs();
  const PrecisionGuard guard(precision);
  return {gpu_flops(device), {gpu_copy(device)}};
}

}  // namespace subquad::lra
