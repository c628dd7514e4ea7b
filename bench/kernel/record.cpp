#include "subquad/bench/kernel/record.h"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "subquad/core/runtime.h"
#include "subquad/kernels/blas/blas.h"

namespace subquad::bench {

namespace {

using Json = nlohmann::ordered_json;

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string text; std::getline(file, text);)
    if (text.starts_with("model name")) return text.substr(text.find(':') + 2);
  return "unknown";
}

double load() {
  double average = 0;
  std::ifstream("/proc/loadavg") >> average;
  return average;
}

Json pass(const Measured& m, Seconds Repetition::*which, const Count& count) {
  const Quartiles cpu = quartiles(m.seconds(which, &Seconds::cpu)), wall = quartiles(m.seconds(which, &Seconds::wall));
  return {{"median_ms", cpu.median * 1e3},
          {"min_ms", cpu.min * 1e3},
          {"q1_ms", cpu.q1 * 1e3},
          {"q3_ms", cpu.q3 * 1e3},
          {"wall_median_ms", wall.median * 1e3},
          {"flops", count.flops},
          {"bytes", count.bytes},
          {"gflops", count.flops / wall.median * 1e-9},
          {"gbytes", count.bytes / wall.median * 1e-9}};
}

}  // namespace

std::vector<double> Measured::seconds(Seconds Repetition::*which, double Seconds::*clock) const {
  std::vector<double> values;
  for (const Repetition& r : repetitions) values.push_back(r.*which.*clock);
  return values;
}

double Measured::cpu() const {
  const double ahead = quartiles(seconds(&Repetition::forward, &Seconds::cpu)).median;
  return has_backward ? ahead + quartiles(seconds(&Repetition::backward, &Seconds::cpu)).median : ahead;
}

Json record(const Settings& settings, const Measured& m, const Context& context, const std::string& op) {
  Json json = {{"op", op}};
  for (const Setting& s : settings.all()) json["shape"][s.name] = s.value;
  json["dtype"] = dtype_name(context.dtype);
  json["device"] = device_name(context.device);
  json["threads"] = context.threads;
  json["reps"] = m.repetitions.size();
  json["cache"] = "hot";
  json["forward"] = pass(m, &Repetition::forward, m.forward);
  if (m.has_backward) json["backward"] = pass(m, &Repetition::backward, m.backward);
  json["memory"] = {{"inputs", m.memory.inputs},
                    {"forward", m.memory.forward},
                    {"peak", m.memory.peak},
                    {"resident", m.memory.resident}};
  json["cpu"] = processor();
  json["simd"] = simd_target();
  json["blas_core"] = kernels::blas_core_name();
  json["compiler"] = __VERSION__;
  json["load"] = load();
  return json;
}

std::string line(const Settings& settings, const Measured& m, const std::string& op) {
  std::string shape;
  for (const Setting& s : settings.all()) shape += cat(' ', s.name, ' ', s.value);
  const auto text = [](const char* name, const Quartiles& t, double flops, double wall) {
    char buffer[160];
    std::snprintf(buffer, sizeof buffer, "  %-9s %10.3f ms CPU (%.3f ... %.3f), %8.2f GF/s\n", name, t.median * 1e3,
                  t.q1 * 1e3, t.q3 * 1e3, flops / wall * 1e-9);
    return std::string(buffer);
  };
  const auto both = [&](const char* name, Seconds Repetition::*which, const Count& count) {
    return text(name, quartiles(m.seconds(which, &Seconds::cpu)), count.flops,
                quartiles(m.seconds(which, &Seconds::wall)).median);
  };
  std::string all = op + ":" + shape + "\n" + both("forward", &Repetition::forward, m.forward);
  if (m.has_backward) all += both("backward", &Repetition::backward, m.backward);
  char buffer[160];
  std::snprintf(buffer, sizeof buffer, "  memory    %10.2f MB inputs, %.2f MB more at the peak (forward %.2f)\n",
                m.memory.inputs * 1e-6, m.memory.peak * 1e-6, m.memory.forward * 1e-6);
  return all + buffer;
}

}  // namespace subquad::bench
