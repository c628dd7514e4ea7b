#include "subquad/examples/lra/profile/roofs.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <iomanip>
#include <limits>
#include <numeric>
#include <sstream>

#include "subquad/core/parallel.h"
#include "subquad/kernels/matmul/matmul.h"
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

double cpu_flops() {
  std::vector<double> peaks(static_cast<std::size_t>(num_threads()));
  constexpr Index kMuch = 1 << 30;  // of work: each thread measures at the same time as the others
  parallel_for(num_threads(), kMuch,
               [&](Index i) { peaks[static_cast<std::size_t>(i)] = kernels::fma_peak(kFloat32); });
  return std::accumulate(peaks.begin(), peaks.end(), 0.0);
}

// Each thread copies a part of its own; small copies are made by one thread, as the kernels do.
Bandwidth cpu_copy(std::size_t bytes) {
  const std::size_t half = bytes / 2;
  const std::vector<unsigned char> from(half, 1);
  std::vector<unsigned char> to(half, 2);
  const auto copies = [&](Index parts, int times) {
    constexpr Index kMuch = 1 << 30;
    parallel_for(parts, kMuch, [&](Index i) {
      const std::size_t begin = half * static_cast<std::size_t>(i) / static_cast<std::size_t>(parts);
      const std::size_t end = half * static_cast<std::size_t>(i + 1) / static_cast<std::size_t>(parts);
      for (int t = 0; t < times; ++t) std::memcpy(to.data() + begin, from.data() + begin, end - begin);
    });
  };
  const int times = static_cast<int>(std::max<std::size_t>(1, (std::size_t{16} << 20) / bytes));
  double least = std::numeric_limits<double>::infinity();
  for (const Index parts : {Index{1}, static_cast<Index>(num_threads())})
    least = std::min(least, least_seconds(3, [&] { copies(parts, times); }) / times);
  return {static_cast<double>(bytes), static_cast<double>(bytes) / least};
}

Roofs cpu_roofs() {
  Roofs roofs;
  roofs.flops = cpu_flops();
  for (std::size_t bytes = std::size_t{16} << 10; bytes <= std::size_t{256} << 20; bytes *= 4)
    roofs.copies.push_back(cpu_copy(bytes));
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
  if (copies.empty()) return 0;
  const auto fits = [&](const Bandwidth& copy) { return bytes <= copy.bytes; };
  const auto found = std::find_if(copies.begin(), copies.end(), fits);
  const double rate = found == copies.end() ? copies.back().rate : found->rate;
  return std::max(bytes / rate, flops > 0 ? operations / flops : 0);
}

std::string Roofs::text() const {
  std::ostringstream out;
  out << std::fixed << std::setprecision(0) << flops * 1e-9 << " GFLOP/s; GB/s copied, by size:";
  for (const Bandwidth& copy : copies) out << "  " << size_text(copy.bytes) << ' ' << copy.rate * 1e-9;
  return out.str();
}

Roofs measure_roofs(Device device, Precision precision) {
  if (device.is_cpu()) return cpu_roofs();
  const PrecisionGuard guard(precision);
  return {gpu_flops(device), {gpu_copy(device)}};
}

}  // namespace subquad::lra
