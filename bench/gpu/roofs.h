// What the device does at best, measured before the rest.
#pragma once

#include <map>

#include "subquad/bench/gpu/case.h"
#include "subquad/bench/gpu/timing.h"

namespace subquad::bench::gpu {

struct Roofs {
  std::map<Precision, double> flops;  // of cuBLAS per second, in each precision
  double bytes = 0;                   // that a copy reads and writes per second, from and to memory
  double cache_bytes = 0;             // that a copy does which stays in the second-level cache
};

Roofs measure_roofs(Device device, bool tiny);

// Inputs drawn as often as it takes to find none of them in the cache.
Timing measure_cold(Device device, const Case& c, bool tiny);

// How many sets of so many bytes are more than four times the last cache; at most 64.
int cold_sets(Device device, double bytes);

}  // namespace subquad::bench::gpu
