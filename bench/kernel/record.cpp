#include "subquad/bench/kernel/record.h"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "subquad/bench/kernel/provenance.h"

namespace subquad::bench {

namespace {

using Json = nlohmann::ordered_json;

double load() {
  double average = 0;
  std::ifstream("/proc/loadavg") >> average;
  return average;
}

// What a rate is taken of: processor time of one thread, which waiting for others does not lengthen; else wall time.
double rate_seconds(const Measured& m, Seconds Repetition::*which, const Context& context) {
  return quartiles(m.seconds(which, context.threads == 1 && context.device.is_cpu() ? &Seconds::cpu : &Seconds::wall))
      .median;
}

Json pass(const Measured& m, Seconds Repetition::*which, const Count& count, const Floor& floor,
          const Context& context) {
  const double rate = rate_seconds(m, which, context);
  const Quartiles cpu = quartiles(m.seconds(which, &Seconds::cpu)), wall = quartiles(m.seconds(which, &Seconds::wall));
  Json json = {{"median_ms", cpu.median * 1e3},
               {"min_ms", cpu.min * 1e3},
               {"q1_ms", cpu.q1 * 1e3},
               {"q3_ms", cpu.q3 * 1e3},
               {"wall_median_ms", wall.median * 1e3},
               {"flops", count.flops},
               {"bytes", count.bytes},
               {"gflops", count.flops / rate * 1e-9},
               {"gbytes", count.bytes / rate * 1e-9}};
  if (context.roofs) {
    json["fma"] = count.flops / context.roofs->flops_per_second / rate;
    json["floor_ms"] = floor.seconds * 1e3;
    json["roof"] = {{"name", floor.by}, {"fraction", floor.seconds / rate}};
  }
  return json;
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
  json["cache"] = context.cold ? "cold" : "hot";
  json["forward"] = pass(m, &Repetition::forward, m.forward, m.forward_floor, context);
  if (m.has_backward) json["backward"] = pass(m, &Repetition::backward, m.backward, m.backward_floor, context);
  json["memory"] = {{"inputs", m.memory.inputs},
                    {"forward", m.memory.forward},
                    {"peak", m.memory.peak},
                    {"resident", m.memory.resident}};
  if (context.roofs) {
    json["roofs"]["gflops"] = context.roofs->flops_per_second * 1e-9;
    for (const Level& level : context.roofs->levels)
      json["roofs"][level.name + "_gbytes"] = level.bytes_per_second * 1e-9;
  }
  json.update(provenance());
  json["load"] = load();
  return json;
}

std::string line(const Settings& settings, const Measured& m, const Context& context, const std::string& op) {
  std::string text = op + ":";
  for (const Setting& s : settings.all()) text += cat(' ', s.name, ' ', s.value);
  const auto pass_line = [&](const char* name, Seconds Repetition::*which, const Count& count, const Floor& floor) {
    const Quartiles cpu = quartiles(m.seconds(which, &Seconds::cpu)),
                    wall = quartiles(m.seconds(which, &Seconds::wall));
    char buffer[200];
    const double seconds = rate_seconds(m, which, context);
    std::snprintf(buffer, sizeof buffer,
                  "\n  %-9s %10.3f ms CPU (%.3f ... %.3f), %.3f ms wall, %.2f GF/s, %.2f GB/s", name, cpu.median * 1e3,
                  cpu.q1 * 1e3, cpu.q3 * 1e3, wall.median * 1e3, count.flops / seconds * 1e-9,
                  count.bytes / seconds * 1e-9);
    std::string pass = buffer;
    if (context.roofs) {
      std::snprintf(buffer, sizeof buffer, ", %.0f %% of the FMA peak, %.0f %% of the floor (%s)",
                    100 * count.flops / seconds / context.roofs->flops_per_second, 100 * floor.seconds / seconds,
                    floor.by.c_str());
      pass += buffer;
    }
    return pass;
  };
  text += pass_line("forward", &Repetition::forward, m.forward, m.forward_floor);
  if (m.has_backward) text += pass_line("backward", &Repetition::backward, m.backward, m.backward_floor);
  char buffer[200];
  std::snprintf(buffer, sizeof buffer,
                "\n  memory    %10.2f MB inputs, %.2f MB more at the peak (forward %.2f)\n"
                "  medians of %zu runs, inputs %s, %d thread%s\n",
                m.memory.inputs * 1e-6, m.memory.peak * 1e-6, m.memory.forward * 1e-6, m.repetitions.size(),
                context.cold ? "cold" : "warm", context.threads, context.threads == 1 ? "" : "s");
  return text + buffer;
}

}  // namespace subquad::bench
