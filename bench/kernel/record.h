// One measurement, as a JSON line for programs and a short one for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "subquad/bench/kernel/growth.h"
#include "subquad/bench/kernel/measure.h"
#include "subquad/bench/roofs/roofs.h"

namespace subquad::bench {

struct Measured {
  std::vector<Repetition> repetitions;
  Memory memory;
  Count forward, backward;
  bool has_backward = false;
  Floor forward_floor = {}, backward_floor = {};  // 0 seconds where roofs were not measured

  std::vector<double> seconds(Seconds Repetition::*pass, double Seconds::*clock) const;
  double cpu() const;  // median processor time of forward plus that of backward
};

struct Context {
  Device device;
  DType dtype = kFloat32;
  int threads = 1;
  bool cold = false;
  std::optional<Roofs> roofs = {};  // of one thread of the CPU, in float32
};

nlohmann::ordered_json record(const Settings& settings, const Measured& measured, const Context& context,
                              const std::string& op);
std::string line(const Settings& settings, const Measured& measured, const Context& context, const std::string& op);

}  // namespace subquad::bench
