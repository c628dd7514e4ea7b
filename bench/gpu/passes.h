// One case of bench_kernel's table (bench/kernel/case.h) on a GPU: forward, and forward with backward, as graphs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "subquad/bench/gpu/roofs.h"
#include "subquad/bench/kernel/case.h"

namespace subquad::bench::gpu {

using OpCase = bench::Case;  // bench/kernel's; this folder has a Case of its own

struct Measurement {
  Timing forward, both;
  std::size_t forward_launches = 0, both_launches = 0;
  double peak = 0;  // bytes that forward and backward add to their inputs
  int sets = 1;     // of inputs, which took turns
  bool cold = false;
  Count forward_count, both_count;
  std::vector<Part> parts;  // empty: the op is one
  bool has_backward = false;
};

// cold: as many sets of inputs as it takes to find none in the cache. As in a training step, gradients are added to
// those of parameters and inputs; ops of several results have no such call and make new ones.
Measurement measure_passes(Device device, const OpCase& c, const Settings& settings, bool tiny, bool cold);

// The least seconds that a device with these roofs needs: the slowest of products (in fp32 the faster of plain units
// and three products of TF32), of memory, and of the second-level cache for rows that are read again. A chain of ops
// needs the sum over them.
struct Floor {
  double seconds = 0;
  std::string by;  // products, memory, L2, or parts
};
enum class Pass { forward, both };
Floor floor_of(const Measurement& m, Pass pass, Precision precision, const Roofs& roofs);

// For programs (without roofs no fractions of them) and for people.
nlohmann::ordered_json record_of(const OpCase& c, const Settings& settings, Precision precision, const Measurement& m,
                                 const Roofs* roofs);
std::string line_of(const std::string& title, const Measurement& m);

// "chord_matmul n 2048 d 64 fp32": what is named differs from the defaults, and always the shape.
std::string title(const OpCase& c, const Settings& settings, Precision precision);

}  // namespace subquad::bench::gpu
