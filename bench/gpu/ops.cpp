#include "subquad/bench/gpu/ops.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>

#include "subquad/autograd/backward.h"
#include "subquad/bench/kernel/check.h"
#include "subquad/bench/kernel/growth.h"
#include "subquad/bench/kernel/measure.h"
#include "subquad/core/graph.h"
#include "subquad/core/safetensors.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::bench::gpu {

namespace {

using Json = nlohmann::ordered_json;
using OpCase = bench::Case;  // bench/kernel's; this folder has a Case of its own

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

  bool has_backward() const { return !leaves_.empty(); }
  void forward() { outs_ = work_.forward(); }
  // As a training step: gradients are added to the leaves' own. Ops of several results have no such call.
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

struct Measurement {
  Timing forward, both;
  std::size_t forward_launches = 0, both_launches = 0;
  double peak = 0;  // bytes that forward and backward add to their inputs
  Count forward_count, both_count;
  bool has_backward = false;
};

Measurement measure_passes(Device device, const OpCase& c, const Settings& settings, bool tiny, bool cold) {
  const auto make = [&](std::uint64_t seed) { return c.make(settings, nn::Place(seed, kFloat32, device)); };
  Measurement m;
  {
    Runner runner(make(1));
    const Work& work = runner.work();
    m.has_backward = runner.has_backward();
    m.forward_count = work.forward_count;
    m.both_count = {work.forward_count.flops + work.backward_count.flops,
                    work.forward_count.bytes + work.backward_count.bytes};
    m.peak = runner.memory().peak;
  }
  const int count = tiny ? 2 : cold ? cold_sets(device, m.forward_count.bytes) : 1;
  std::vector<std::shared_ptr<Passes>> sets;
  for (int i = 0; i < count; ++i) sets.push_back(std::make_shared<Passes>(make(static_cast<std::uint64_t>(i + 1))));
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

Json pass_record(const Timing& t, const Count& count, std::size_t launches, Precision precision, const Roofs* roofs) {
  Json json = {{"median_ms", t.median * 1e3},
               {"min_ms", t.min * 1e3},
               {"q1_ms", t.q1 * 1e3},
               {"q3_ms", t.q3 * 1e3},
               {"reps", t.repetitions},
               {"launches", launches},
               {"gflops", count.flops / t.median * 1e-9},
               {"gbytes", count.bytes / t.median * 1e-9}};
  if (roofs == nullptr) return json;
  double roof = roofs->flops.at(precision);
  if (precision == Precision::fp32)
    roof = std::max(roof, roofs->flops.at(Precision::tf32) / 3);  // three products of one
  const double products = count.flops / roof, bytes = count.bytes / roofs->bytes;
  json["roof"] = {{"name", products > bytes ? "products" : "memory"},
                  {"fraction", std::max(products, bytes) / t.median}};
  return json;
}

Json record_of(const OpCase& c, const Settings& settings, Precision precision, const Measurement& m,
               const Roofs* roofs) {
  Json json = {{"case", c.op}};
  for (const Setting& s : settings.all()) json["shape"][s.name] = s.value;
  json["dtype"] = dtype_name(kFloat32);
  json["precision"] = precision_name(precision);
  json["forward"] = pass_record(m.forward, m.forward_count, m.forward_launches, precision, roofs);
  if (m.has_backward) json["both"] = pass_record(m.both, m.both_count, m.both_launches, precision, roofs);
  json["peak_bytes"] = m.peak;
  return json;
}

// "chord_matmul n 2048 d 64": what is named differs from the defaults, and always the shape.
std::string title(const OpCase& c, const Settings& settings, Precision precision) {
  std::string text = c.op;
  for (const Setting& s : c.settings) {
    const bool shape = s.name == "n" || s.name == "d" || s.name == "batch" || s.name == "heads";
    if (shape || settings.text(s.name) != s.value) text += cat(' ', s.name, ' ', settings.text(s.name));
  }
  return cat(text, ' ', precision);
}

std::string line_of(const std::string& name, const Measurement& m) {
  char buffer[200];
  std::snprintf(buffer, sizeof buffer, "%-72s %9.4f ms forward", name.c_str(), m.forward.median * 1e3);
  std::string text = buffer;
  if (m.has_backward) {
    std::snprintf(buffer, sizeof buffer, ", %9.4f with backward", m.both.median * 1e3);
    text += buffer;
  }
  std::snprintf(buffer, sizeof buffer, "; %zu + %zu launches, %.1f MiB", m.forward_launches,
                m.has_backward ? m.both_launches - m.forward_launches : 0, m.peak / (1 << 20));
  return text + buffer;
}

bool is_attention(const OpCase& c) {
  const std::vector<std::string> kinds = nn::attention_kinds();
  return std::find(kinds.begin(), kinds.end(), c.op) != kinds.end();
}

// Which settings a case is measured with; a case without positions has one size, its own.
std::vector<Settings> sizes_of(const OpCase& c, bool tiny) {
  std::vector<Settings> sizes;
  const auto add = [&](const char* n, const char* width, const char* batch) {
    Settings settings(c.op, c.settings);
    const auto set = [&](const char* name, const char* value) {
      if (settings.has(name)) settings.set(name, value);
    };
    set("n", n);
    set("batch", batch);
    if (c.op == "combiner") settings.set("segment", tiny ? "8" : "64");
    if (c.op == "nystrom" && tiny) settings.set("landmarks", "8");  // fewer than positions
    if (is_attention(c) || settings.has("heads")) set("d", width);
    sizes.push_back(std::move(settings));
  };
  if (tiny) {
    add("40", "8", "2");
    if (sizes.back().has("k") && sizes.back().has("m"))  // a matrix product
      for (const char* name : {"m", "n", "k"}) sizes.back().set(name, "40");
    return sizes;
  }
  if (!Settings(c.op, c.settings).has("n") || c.op == "matmul") return {Settings(c.op, c.settings)};
  add("2048", "64", "32");
  add("4096", "128", "32");
  return sizes;
}

// Those patterns and protocols of an attention that ask for work of another kind.
std::vector<Settings> variants_of(const OpCase& c, Settings settings, bool tiny) {
  std::vector<Settings> variants = {settings};
  if (tiny) return variants;
  const auto add = [&](const char* name, std::initializer_list<const char*> values) {
    for (const char* value : values) {
      variants.push_back(settings);
      variants.back().set(name, value);
    }
  };
  if (c.op == "combiner") add("pattern", {"logsparse", "vertical", "horizontal", "mixture", "average", "rowmajor"});
  if (c.op == "paramixer") add("protocol", {"cdil", "butterfly"});
  return variants;
}

struct Wanted {
  explicit Wanted(const std::string& only) : pattern(only) {}
  bool operator()(const std::string& name) const { return std::regex_search(name, pattern); }
  std::regex pattern;
};

}  // namespace

int bench_ops(Which which, Device device, const Roofs& roofs, const OpsOptions& options, const Report& report) {
  const Wanted wanted(options.only);
  int wrong = 0, dumped = 0;
  const auto run = [&](const OpCase& c, const Settings& settings, Precision precision, bool smallest) {
    const std::string name = title(c, settings, precision);
    if (!wanted(name)) return;
    try {
      Json json = Json::object();
      if (precision == Precision::fp32 && !c.turns_on_rounding)
        json["error"] = check_against_float64(c, settings, nn::Place(1, kFloat32, device));
      const PrecisionGuard guard(precision);
      if (!options.dump.empty() && is_attention(c) && precision == Precision::fp32 && smallest) {
        const std::string file = cat(c.op, '-', ++dumped, ".safetensors");
        Runner runner(c.make(settings, nn::Place(1, kFloat32, device)));
        write_safetensors(std::filesystem::path(options.dump) / file, {.metadata = {}, .tensors = runner.results()});
        json["dump"] = file;
      }
      const Measurement m = measure_passes(device, c, settings, options.tiny, true);
      Json record = record_of(c, settings, precision, m, &roofs);
      record.update(json);
      report(record, line_of(name, m));
    } catch (const Error& problem) {
      report({{"case", c.op}, {"precision", precision_name(precision)}, {"failed", problem.what()}},
             cat(name, " FAILED: ", problem.what()));
      ++wrong;
    }
  };
  for (const OpCase& c : all_cases()) {
    if (is_attention(c) != (which == Which::attentions)) continue;
    bool smallest = true;
    for (const Settings& size : sizes_of(c, options.tiny)) {
      for (const Settings& settings : variants_of(c, size, options.tiny)) {
        run(c, settings, Precision::fp32, smallest);
        if (is_attention(c)) run(c, settings, Precision::bf16, smallest);
      }
      smallest = false;
    }
  }
  return wrong;
}

void bench_growth(Device device, const OpsOptions& options, const Report& report) {
  const Wanted wanted(options.only);
  const Index from = options.tiny ? 32 : Index{1} << 10, to = options.tiny ? 64 : Index{1} << 17;
  std::vector<OpCase> attentions;
  for (OpCase& c : all_cases())
    if (is_attention(c) && wanted(c.op)) attentions.push_back(std::move(c));
  std::stable_partition(attentions.begin(), attentions.end(), [](const OpCase& c) { return c.op != "softmax"; });
  for (const OpCase& c : attentions) {
    const auto at = [&](Index n) {
      Settings settings(c.op, c.settings);
      settings.set("n", cat(n));
      settings.set("batch", "1");
      if (options.tiny) settings.set("d", "8");
      if (options.tiny && c.op == "nystrom") settings.set("landmarks", "8");
      const Measurement m = measure_passes(device, c, settings, options.tiny, false);
      Json record = record_of(c, settings, Precision::fp32, m, nullptr);
      record["growth"] = true;
      report(record, line_of(title(c, settings, Precision::fp32), m));
      return Point{static_cast<double>(n), m.both.median, m.both_count.flops, m.peak, m.both_count.bytes};
    };
    try {
      std::vector<Point> points;
      for (Index n = from; n <= to; n *= 2) points.push_back(at(n));
      const Growth g = fit(points);
      char buffer[200];
      std::snprintf(buffer, sizeof buffer,
                    "%s: time n^%.2f (counted flops n^%.2f), memory n^%.2f (counted bytes n^%.2f)", c.op.c_str(),
                    g.seconds, g.flops, g.allocated, g.bytes);
      report({{"exponents_of", c.op},
              {"from", from},
              {"to", to},
              {"time", g.seconds},
              {"flops", g.flops},
              {"allocated", g.allocated},
              {"bytes", g.bytes},
              {"time_met", g.time_met()},
              {"memory_met", g.memory_met()}},
             buffer);
      if (c.op != "softmax") at(options.tiny ? 128 : Index{1} << 20);
    } catch (const Error& problem) {
      report({{"exponents_of", c.op}, {"failed", problem.what()}}, cat(c.op, " FAILED: ", problem.what()));
    }
  }
}

}  // namespace subquad::bench::gpu
