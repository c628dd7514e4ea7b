// bench_gpu: our CUDA kernels at the sizes of a training, each result checked before it is timed. One JSON line per
// measurement on standard output, one readable line on standard error.
//
//   bench_gpu [--only REGEX] [--dump FOLDER] [--tiny]     the engine's kernels, one by one
//   bench_gpu --attentions [...]                           those of bench_kernel, forward and backward
//   bench_gpu --ops [...]                                  its other ops, the primitives, likewise
//   bench_gpu --layers [...]                               encoder layers, and whole training steps
//   bench_gpu --growth [...]                               the attentions from n = 2^10 to a million
//
// --dump writes inputs and results of the smallest size of each op and precision for bench/gpu/peers.py (--attentions,
// --ops, --layers: of each in fp32, for op_peers.py); --tiny takes sizes that the interpreter of tests/simt can do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "subquad/bench/gpu/case.h"
#include "subquad/bench/gpu/ops.h"
#include "subquad/core/safetensors.h"

namespace subquad::bench::gpu {
namespace {

struct Options {
  std::string only, dump;
  bool attentions = false, ops = false, layers = false, growth = false, tiny = false;
};

// Attention in fp32 takes three products of TF32 per product.
double product_roof(const Roofs& roofs, const Case& c) {
  const bool three = c.op.starts_with("attention") && c.precision == Precision::fp32;
  return three ? roofs.flops.at(Precision::tf32) / 3 : roofs.flops.at(c.precision);
}

std::string kind(const Case& c) {
  return cat(c.op, '-', c.precision);
}

std::string title(const Case& c) {
  std::string text = c.op;
  for (const auto& [name, extent] : c.shape) text += cat(' ', name, ' ', extent);
  return text + ' ' + std::string(precision_name(c.precision));
}

nlohmann::ordered_json record(const Case& c, const Timing& t, const Roofs& roofs, double error) {
  const double product_floor = c.flops / product_roof(roofs, c), byte_floor = c.bytes / roofs.bytes;
  const bool by_products = product_floor > byte_floor;
  nlohmann::ordered_json line = {{"op", c.op}};
  for (const auto& [name, extent] : c.shape) line["shape"][name] = extent;
  line.update(
      {{"dtype", "float32"},
       {"precision", precision_name(c.precision)},
       {"median_ms", t.median * 1e3},
       {"min_ms", t.min * 1e3},
       {"q1_ms", t.q1 * 1e3},
       {"q3_ms", t.q3 * 1e3},
       {"reps", t.repetitions},
       {"gflops", c.flops / t.median * 1e-9},
       {"gbytes", c.bytes / t.median * 1e-9},
       {"roof",
        {{"name", by_products ? "products" : "memory"}, {"fraction", std::max(product_floor, byte_floor) / t.median}}},
       {"error", error},
       {"tolerance", c.tolerance},
       {"cache", "cold"}});
  return line;
}

void dump(const std::filesystem::path& folder, const Case& c, const Prepared& set) {
  write_safetensors(folder / (kind(c) + ".safetensors"), {.metadata = {}, .tensors = set.tensors()});
}

int run(const Options& options) {
  const Device device = parse_device("cuda");
  const Roofs roofs = measure_roofs(device, options.tiny);
  nlohmann::ordered_json peaks = {
      {"device", device_name(device)}, {"copy_gbytes", roofs.bytes * 1e-9}, {"cache_gbytes", roofs.cache_bytes * 1e-9}};
  for (const auto& [precision, flops] : roofs.flops)
    peaks["gflops"][std::string(precision_name(precision))] = flops * 1e-9;
  std::printf("%s\n", nlohmann::ordered_json{{"roofs", peaks}}.dump().c_str());

  const OpsOptions ops = {options.only, options.dump, options.tiny};
  const Report report = [](const nlohmann::ordered_json& line, const std::string& text) {
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", text.c_str());
  };
  int wrong_ops = 0;
  if (options.growth) wrong_ops += bench_growth(device, ops, report);
  if (options.attentions) wrong_ops += bench_ops(Which::attentions, device, roofs, ops, report);
  if (options.ops) wrong_ops += bench_ops(Which::primitives, device, roofs, ops, report);
  if (options.layers) wrong_ops += bench_ops(Which::layers, device, roofs, ops, report);
  if (options.attentions || options.ops || options.layers || options.growth) return wrong_ops == 0 ? 0 : 1;

  std::vector<Case> cases;
  std::map<std::string, double> smallest;  // bytes, by op and precision: what is dumped
  const std::regex wanted(options.only);
  for (const auto& family : {matmul_cases, attention_cases, row_cases, adamw_cases})
    for (const Case& c : family(device, options.tiny))
      if (std::regex_search(title(c), wanted)) {
        cases.push_back(c);
        double& bytes = smallest.try_emplace(kind(c), c.bytes).first->second;
        bytes = std::min(bytes, c.bytes);
      }
  int wrong = 0;
  for (const Case& c : cases) {
    const Prepared set = c.prepare(1);
    set.run();
    const double error = set.error();
    if (!(error <= c.tolerance)) {  // a NaN is wrong, too
      std::fprintf(stderr, "%-72s WRONG: error %.2g, expected at most %.2g\n", title(c).c_str(), error, c.tolerance);
      ++wrong;
      continue;
    }
    if (!options.dump.empty() && smallest[kind(c)] == c.bytes) dump(options.dump, c, set);
    const Timing timing = measure_cold(device, c, options.tiny);
    const auto line = record(c, timing, roofs, error);
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
    std::fprintf(stderr, "%-72s %9.4f ms  %3.0f %% of %s\n", title(c).c_str(), timing.median * 1e3,
                 100 * line["roof"]["fraction"].get<double>(), line["roof"]["name"].get<std::string>().c_str());
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace subquad::bench::gpu

int main(int argc, char** argv) {
  subquad::bench::gpu::Options options;
  CLI::App app("Times the CUDA kernels; every result is checked first.");
  app.add_option("--only", options.only, "only measurements whose line matches this regular expression");
  app.add_option("--dump", options.dump, "an existing folder for inputs and results, one file per op and precision");
  app.add_flag("--attentions", options.attentions, "the attentions of bench_kernel, forward and backward");
  app.add_flag("--ops", options.ops, "its primitives, forward and backward");
  app.add_flag("--layers", options.layers, "encoder layers and training steps with each attention");
  app.add_flag("--growth", options.growth, "the attentions over n, with fitted exponents");
  app.add_flag("--tiny", options.tiny, "sizes for the interpreter of tests/simt");
  CLI11_PARSE(app, argc, argv);
  try {
    return subquad::bench::gpu::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_gpu: %s\n", error.what());
    return 1;
  }
}
