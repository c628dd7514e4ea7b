// How long the GPU takes: events around replays of a graph of many repetitions, so that the host's part does not count.
#pragma once

#include <functional>
#include <vector>

#include "subquad/bench/gpu/case.h"

namespace subquad::bench::gpu {

struct Timing {
  double median = 0, min = 0, q1 = 0, q3 = 0;  // seconds of one repetition
  int repetitions = 0;                         // in all
};

// The sets take turns, so that with enough of them none is found in the cache. At least 10 repetitions per replay, 20
// replays and 0.3 s (`quick`: one of each, for the interpreter); once more where the quartiles differ by over 20 %.
Timing time_on_gpu(Device device, std::vector<Prepared> sets, bool quick);

}  // namespace subquad::bench::gpu
