#include "subquad/bench/roofs/roofs.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "subquad/kernels/blas/blas.h"
#include "subquad/kernels/peak/bandwidth.h"
#include "subquad/kernels/peak/peak.h"

namespace subquad::bench {

namespace {

std::size_t cache_size(int name, std::size_t unknown) {
  const long bytes = sysconf(name);
  return bytes > 0 ? static_cast<std::size_t>(bytes) : unknown;
}

Floor floor_of_parts(const std::vector<Part>& parts, Count Part::*pass, const Roofs& roofs) {
  Floor sum{0, "parts"};
  for (const Part& part : parts) sum.seconds += floor_of(part.*pass, roofs).seconds;
  return sum;
}

}  // namespace

const Level& Roofs::level_of(double bytes) const {
  return *std::find_if(levels.begin(), levels.end(),
                       [&](const Level& level) { return bytes <= static_cast<double>(level.size); });
}

Roofs measure_roofs() {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  const std::size_t l2 = cache_size(_SC_LEVEL2_CACHE_SIZE, kMiB);
  const std::size_t l3 = std::min(std::max(cache_size(_SC_LEVEL3_CACHE_SIZE, 16 * kMiB), 2 * l2), 32 * kMiB);
  return {.flops_per_second = kernels::fma_peak(kFloat32),
          .levels = {{"L2", l2, kernels::bandwidth(l2 / 2)},
                     {"L3", l3, kernels::bandwidth(std::max(2 * l2, l3 / 4))},
                     {"memory", std::numeric_limits<std::size_t>::max(), kernels::bandwidth(256 * kMiB)}}};
}

void say_chosen_blas() {
  if (const char* core = std::getenv("OPENBLAS_CORETYPE"))
    std::fprintf(stderr, "OPENBLAS_CORETYPE is set to %s: products that OpenBLAS does run the kernels of %s\n", core,
                 kernels::blas_core_name().c_str());
}

Floor floor_of(const Count& count, const Roofs& roofs) {
  const Level& level = roofs.level_of(count.held > 0 ? count.held : count.bytes);
  return std::max(
      {Floor{count.flops / roofs.flops_per_second, "products"}, Floor{count.bytes / level.bytes_per_second, level.name},
       Floor{count.again / roofs.levels.front().bytes_per_second, "L2"}},
      [](const Floor& a, const Floor& b) { return a.seconds < b.seconds; });
}

Floor forward_floor(const Work& work, const Roofs& roofs) {
  return work.parts.empty() ? floor_of(work.forward_count, roofs) : floor_of_parts(work.parts, &Part::forward, roofs);
}

Floor backward_floor(const Work& work, const Roofs& roofs) {
  return work.parts.empty() ? floor_of(work.backward_count, roofs) : floor_of_parts(work.parts, &Part::backward, roofs);
}

}  // namespace subquad::bench
