#include "subquad/bench/gpu/ops.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "subquad/bench/gpu/passes.h"
#include "subquad/bench/kernel/check.h"
#include "subquad/bench/kernel/growth.h"
#include "subquad/bench/kernel/measure.h"
#include "subquad/core/safetensors.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::bench::gpu {

namespace {

using Json = nlohmann::ordered_json;

bool is_attention(const OpCase& c) {
  const std::vector<std::string> kinds = nn::attention_kinds();
  return std::find(kinds.begin(), kinds.end(), c.op) != kinds.end();
}

Which which_of(const OpCase& c) {
  if (is_attention(c)) return Which::attentions;
  return c.op.ends_with("_layer") || c.op.ends_with("_step") ? Which::layers : Which::primitives;
}

// Those whose products are made in precision().
std::vector<Precision> precisions_of(const OpCase& c) {
  static const std::set<std::string> multiplying = {
      "matmul", "linear", "attention", "block_attention", "summary_attention", "factor_mlp"};
  if (which_of(c) != Which::primitives) return {Precision::fp32, Precision::bf16};
  if (multiplying.contains(c.op)) return {Precision::fp32, Precision::tf32, Precision::bf16};
  return {Precision::fp32};
}

// Of results and gradients against float64, relative to the largest element. An operand in bf16 is off by 2^-9 at most,
// and what comes out of a layer by some times that (PyTorch under autocast, n = 1024: 0.008 for softmax and Nystrom,
// 0.012 for paramixer; whole steps of two layers 0.008 to 0.04); of TF32 by an eighth of it.
double tolerance_of(const OpCase& c, Precision precision) {
  if (precision == Precision::fp32) return 2e-4;
  const double layers = c.op.ends_with("_step") ? 2 : 1;
  return layers * (precision == Precision::bf16 ? 0x1p-4 : 0x1p-7);
}

// The quadratic ones, in float64, of no more than these; all others of any n.
constexpr Index kQuadraticPositions = Index{1} << 14;

// Error where results or gradients in precision() differ from float64, on one sample. Not of fsat's: rounding may
// change what it chooses; in bf16 it may change where combiner's maxima are, so that only results are compared.
Json checked(const OpCase& c, const Settings& settings, Device device) {
  if (c.turns_on_rounding) return {{"unchecked", "rounding may change what it chooses"}};
  const bool quadratic = c.op.starts_with("softmax") || c.op == "attention";
  CheckLimits limits = {.tolerance = tolerance_of(c, precision())};
  limits.gradients = precision() == Precision::fp32 || !(c.op.starts_with("combiner") || c.op == "summary_attention");
  limits.positions = settings.has("n") ? settings.size("n") : 0;
  if (quadratic) limits.positions = std::min(limits.positions, kQuadraticPositions);
  Json json = {{"error", check_against_float64(c, settings, nn::Place(1, kFloat32, device), limits)},
               {"tolerance", limits.tolerance}};
  if (settings.has("n")) json["checked_n"] = limits.positions;
  if (!limits.gradients) json["checked"] = "results alone";
  return json;
}

void set_where_known(Settings& settings, std::initializer_list<std::pair<const char*, const char*>> values) {
  for (const auto& [name, value] : values)
    if (settings.has(name)) settings.set(name, value);
}

Settings tiny_settings(const OpCase& c) {
  Settings settings(c.op, c.settings);
  set_where_known(settings, {{"n", "40"},
                             {"window", "8"},
                             {"batch", "2"},
                             {"landmarks", "8"},
                             {"feed_forward", "16"},
                             {"m", "24"},
                             {"distance", "4"}});
  if (c.op.starts_with("combiner")) settings.set("segment", "8");
  if (settings.has("heads") && settings.has("d")) settings.set("d", "8");
  if (c.op == "lag_column_attention") settings.set("lags", "16");  // PyTorch has no missing ones
  if (c.op == "matmul") set_where_known(settings, {{"m", "40"}, {"k", "40"}});
  return settings;
}

// Which settings a case is measured with: those of a training, at batch 32, with heads 32 and 64 wide. A case without
// positions has one size; a step is that of the ListOps presets; top_k has one more, which fills the memory's
// bandwidth.
std::vector<Settings> sizes_of(const OpCase& c, bool tiny) {
  if (tiny) return {tiny_settings(c)};
  std::vector<Settings> sizes;
  const auto add = [&](const char* n, const char* width, const char* batch) {
    Settings settings(c.op, c.settings);
    set_where_known(settings, {{"n", n}, {"batch", batch}});
    if (c.op.starts_with("combiner")) settings.set("segment", "64");
    if (settings.has("heads") && settings.has("d")) settings.set("d", width);
    if (settings.has("feed_forward")) settings.set("feed_forward", cat(2 * settings.size("d")));
    sizes.push_back(std::move(settings));
  };
  if (c.op == "matmul") return {Settings(c.op, c.settings)};
  if (c.op == "pinv") {
    add("", "", "64");
    return sizes;
  }
  add("2048", "64", "32");
  if (c.op.ends_with("_step") || !sizes[0].has("n")) return sizes;
  add("4096", "128", "32");
  if (c.op == "top_k") add("4096", "", "4096");
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

// Inputs, results and gradients for a peer: nothing dropped.
void write_dump(const std::filesystem::path& path, const OpCase& c, Settings settings, Device device) {
  if (settings.has("dropout")) settings.set("dropout", "0");
  Runner runner(c.make(settings, nn::Place(1, kFloat32, device)));
  write_safetensors(path, {.metadata = {}, .tensors = runner.results()});
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
      const PrecisionGuard guard(precision);
      Json json = checked(c, settings, device);
      if (!options.dump.empty() && precision == Precision::fp32 && smallest) {
        const std::string file = cat(c.op, '-', ++dumped, ".safetensors");
        write_dump(std::filesystem::path(options.dump) / file, c, settings, device);
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
  // Every case at its smallest size comes before any at a larger one: time may be short.
  std::vector<OpCase> cases = all_cases();
  std::erase_if(cases, [&](const OpCase& c) { return which_of(c) != which || !c.on_cuda; });
  bool more = true;
  for (std::size_t i = 0; more; ++i) {
    more = false;
    for (const OpCase& c : cases) {
      const std::vector<Settings> sizes = sizes_of(c, options.tiny);
      if (i >= sizes.size()) continue;
      more = true;
      for (const Settings& settings : variants_of(c, sizes[i], options.tiny))
        for (const Precision precision : precisions_of(c)) run(c, settings, precision, i == 0);
    }
  }
  return wrong;
}

int bench_growth(Device device, const OpsOptions& options, const Report& report) {
  const Wanted wanted(options.only);
  const Index from = options.tiny ? 32 : Index{1} << 10, to = options.tiny ? 64 : Index{1} << 17;
  std::vector<OpCase> attentions;
  for (OpCase& c : all_cases())
    if (is_attention(c) && wanted(c.op)) attentions.push_back(std::move(c));
  std::stable_partition(attentions.begin(), attentions.end(), [](const OpCase& c) { return c.op != "softmax"; });
  int wrong = 0;
  for (const OpCase& c : attentions) {
    const auto at = [&](Index n) {
      Settings settings = options.tiny ? tiny_settings(c) : Settings(c.op, c.settings);
      settings.set("n", cat(n));
      settings.set("batch", "1");
      const Json check = checked(c, settings, device);
      const Measurement m = measure_passes(device, c, settings, options.tiny, false);
      Json record = record_of(c, settings, Precision::fp32, m, nullptr);
      record["growth"] = true;
      record.update(check);
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
      if (c.op != "softmax" && !options.tiny) at(Index{1} << 20);
    } catch (const Error& problem) {
      report({{"exponents_of", c.op}, {"failed", problem.what()}}, cat(c.op, " FAILED: ", problem.what()));
      ++wrong;
    }
  }
  return wrong;
}

}  // namespace subquad::bench::gpu
