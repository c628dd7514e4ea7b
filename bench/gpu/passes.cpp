#include "subquad/bench/gpu/passes.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "subquad/autograd/backward.h"
#include "subquad/bench/kernel/measure.h"
#include "subquad/core/graph.h"

namespace subquad::bench::gpu {

namespace {

using Json = nlohmann::ordered_json;

// One set of inputs, and the two passes over it.
class Passes {
 public:
  explicit Passes(Work work) : work_(std::move(work)) {
    for (const auto& [name, input] : work_.inputs)
      if (input.requires_grad()) leaves_.push_back(input);
    for (const Variable& out : work_.forward()) {
      const nn::Place place(1, out.dtype(), out.device());
      upstream_.push_back(normal_input(place, cat("upstream", upstream_.size()), out.shape()).value());
    }
  }

  void forward() { outs_ = work_.forward(); }
  void both() {
    const std::vector<Variable> outs = work_.forward();
    if (outs.size() == 1)
      backward(outs[0], upstream_[0]);
    else
      grads_ = grad(outs, leaves_, upstream_);
  }

 private:
  Work work_;
  std::vector<Variable> leaves_, outs_;  // results stay until the next run
  std::vector<Tensor> upstream_, grads_;
};

Count sum(const Count& a, const Count& b) {
  return {a.flops + b.flops, a.bytes + b.bytes, a.again + b.again};
}

Floor floor_of(const Count& count, Precision precision, const Roofs& roofs) {
  double flops = roofs.flops.at(precision);
  if (precision == Precision::fp32) flops = std::max(flops, roofs.flops.at(Precision::tf32) / 3);
  return std::max({Floor{count.flops / flops, "products"}, Floor{count.bytes / roofs.bytes, "memory"},
                   Floor{count.again / roofs.cache_bytes, "L2"}},
                  [](const Floor& a, const Floor& b) { return a.seconds < b.seconds; });
}

Json pass_record(const Timing& t, const Count& count, std::size_t launches) {
  return {{"median_ms", t.median * 1e3},
          {"min_ms", t.min * 1e3},
          {"q1_ms", t.q1 * 1e3},
          {"q3_ms", t.q3 * 1e3},
          {"reps", t.repetitions},
          {"launches", launches},
          {"gflops", count.flops / t.median * 1e-9},
          {"gbytes", count.bytes / t.median * 1e-9}};
}

}  // namespace

Measurement measure_passes(Device device, const OpCase& c, const Settings& settings, bool tiny, bool cold) {
  const auto make = [&](std::uint64_t seed) { return c.make(settings, nn::Place(seed, kFloat32, device)); };
  Measurement m;
  {
    Runner runner(make(1));
    const Work& work = runner.work();
    m.has_backward = runner.has_backward();
    m.forward_count = work.forward_count;
    m.both_count = sum(work.forward_count, work.backward_count);
    m.parts = work.parts;
    m.peak = runner.memory().peak;
  }
  m.cold = cold;
  m.sets = tiny ? 2 : cold ? cold_sets(device, m.forward_count.bytes) : 1;
  std::vector<std::shared_ptr<Passes>> sets;
  for (int i = 0; i < m.sets; ++i) sets.push_back(std::make_shared<Passes>(make(static_cast<std::uint64_t>(i + 1))));
  const auto time = [&](void (Passes::*pass)()) {
    std::vector<Prepared> prepared;
    for (const auto& set : sets) prepared.push_back({[set, pass] { ((*set).*pass)(); }, nullptr, nullptr});
    return time_on_gpu(device, std::move(prepared), tiny);
  };
  m.forward = time(&Passes::forward);
  m.forward_launches = Graph::capture(device, [&] { sets[0]->forward(); }).size();
  if (!m.has_backward) return m;
  m.both = time(&Passes::both);
  m.both_launches = Graph::capture(device, [&] { sets[0]->both(); }).size();
  return m;
}

Floor floor_of(const Measurement& m, Pass pass, Precision precision, const Roofs& roofs) {
  const bool both = pass == Pass::both;
  if (m.parts.empty()) return floor_of(both ? m.both_count : m.forward_count, precision, roofs);
  Floor total = {0, "parts"};
  for (const Part& part : m.parts) {
    total.seconds += floor_of(part.forward, precision, roofs).seconds;
    if (both) total.seconds += floor_of(part.backward, precision, roofs).seconds;
  }
  return total;
}

Json record_of(const OpCase& c, const Settings& settings, Precision precision, const Measurement& m,
               const Roofs* roofs) {
  Json json = {{"case", c.op}};
  for (const Setting& s : settings.all()) json["shape"][s.name] = s.value;
  json["dtype"] = dtype_name(kFloat32);
  json["precision"] = precision_name(precision);
  json["sets"] = m.sets;
  json["cache"] = m.cold ? "cold" : "hot";
  json["forward"] = pass_record(m.forward, m.forward_count, m.forward_launches);
  if (m.has_backward) json["both"] = pass_record(m.both, m.both_count, m.both_launches);
  json["peak_bytes"] = m.peak;
  if (roofs == nullptr) return json;
  const auto judge = [&](const char* name, Pass pass, const Timing& t) {
    const Floor floor = floor_of(m, pass, precision, *roofs);
    json[name]["floor_ms"] = floor.seconds * 1e3;
    json[name]["roof"] = {{"name", floor.by}, {"fraction", floor.seconds / t.median}};
  };
  judge("forward", Pass::forward, m.forward);
  if (m.has_backward) judge("both", Pass::both, m.both);
  return json;
}

std::string title(const OpCase& c, const Settings& settings, Precision precision) {
  std::string text = c.op;
  for (const Setting& s : c.settings) {
    const bool shape = s.name == "n" || s.name == "d" || s.name == "batch" || s.name == "heads";
    if (shape || settings.text(s.name) != s.value) text += cat(' ', s.name, ' ', settings.text(s.name));
  }
  return cat(text, ' ', precision);
}

std::string line_of(const std::string& title, const Measurement& m) {
  char buffer[200];
  std::snprintf(buffer, sizeof buffer, "%-72s %9.4f ms forward", title.c_str(), m.forward.median * 1e3);
  std::string text = buffer;
  if (m.has_backward) {
    std::snprintf(buffer, sizeof buffer, ", %9.4f with backward", m.both.median * 1e3);
    text += buffer;
  }
  std::snprintf(buffer, sizeof buffer, "; %zu + %zu launches, %.1f MiB", m.forward_launches,
                m.has_backward ? m.both_launches - m.forward_launches : 0, m.peak / (1 << 20));
  return text + buffer;
}

}  // namespace subquad::bench::gpu
