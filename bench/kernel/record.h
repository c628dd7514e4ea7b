// One measurement, as a JSON line for programs and a short one for people.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "subquad/bench/kernel/growth.h"
#include "subquad/bench/kernel/measure.h"

namespace subquad::bench {

struct Measured {
  std::vector<Repetition> repetitions;
  Memory memory;
  Count forward, backward;
  bool has_backward = false;

  std::vector<double> seconds(Seconds Repetition::*pass, double Seconds::*clock) const;
  double cpu() const;  // median processor time of forward plus that of backward
};

struct Context {
  Device device;
  DType dtype = kFloat32;
  int threads = 1;
  bool cold = false;
};

nlohmann::ordered_json record(const Settings& settings, const Measured& measured, const Context& context,
                              const std::string& op);
std::string line(const Settings& settings, const Measured& measured, const Context& context, const std::string& op);

}  // namespace subquad::bench
