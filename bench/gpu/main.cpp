// bench_gpu: our CUDA kernels at the sizes of a training, each result checked before it is timed. One JSON line per
// measurement on standard output, one readable line on standard error.
//
//   bench_gpu [--only REGEX] [--dump FOLDER] [--tiny]
//
// --dump writes inputs and results of the smallest size of each op and precision for bench/gpu/peers.py; --tiny takes
// sizes that the interpreter of tests/simt can do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "subquad/bench/gpu/case.h"
#include "subquad/bench/gpu/timing.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/safetensors.h"

namespace subquad::bench {
namespace {

struct Options {
  std::string only, dump;
  bool tiny = false;
};

// What the device does at best, measured before the rest: floating-point operations of cuBLAS per second in each
// precision, bytes per second that a copy reads and writes.
struct Roofs {
  std::map<Precision, double> flops;
  double bytes = 0;

  // Attention in fp32 takes three products of TF32 per product.
  double products(const Case& c) const {
    const bool three = c.op.starts_with("attention") && c.precision == Precision::fp32;
    return three ? flops.at(Precision::tf32) / 3 : flops.at(c.precision);
  }
};

Timing measure(Device device, const Case& c, bool tiny) {
  const double cache = static_cast<double>(cuda::properties(device.ordinal).l2_bytes);
  const int count = tiny ? 2 : static_cast<int>(std::clamp(4 * cache / c.bytes + 1, 1.0, 64.0));  // cold: none is in L2
  std::vector<Prepared> sets;
  for (int i = 0; i < count; ++i) sets.push_back(c.prepare(static_cast<std::uint64_t>(i + 1)));
  return time_on_gpu(device, std::move(sets), tiny);
}

Roofs measure_roofs(Device device, bool tiny) {
  Roofs roofs;
  const Index size = tiny ? 4096 : Index{128} << 20;
  const auto from = std::make_shared<Tensor>(zeros({size}, kFloat32, device));
  const auto to = std::make_shared<Tensor>(zeros({size}, kFloat32, device));
  const Timing copying = time_on_gpu(device, {Prepared{[=] { copy(*from, *to); }, nullptr, nullptr}}, tiny);
  roofs.bytes = 8.0 * static_cast<double>(size) / copying.median;
  for (const Case& c : matmul_cases(device, tiny))
    if (!roofs.flops.contains(c.precision)) roofs.flops[c.precision] = c.flops / measure(device, c, tiny).median;
  return roofs;
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
  const double product_floor = c.flops / roofs.products(c), byte_floor = c.bytes / roofs.bytes;
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
  nlohmann::ordered_json peaks = {{"device", device_name(device)}, {"copy_gbytes", roofs.bytes * 1e-9}};
  for (const auto& [precision, flops] : roofs.flops)
    peaks["gflops"][std::string(precision_name(precision))] = flops * 1e-9;
  std::printf("%s\n", nlohmann::ordered_json{{"roofs", peaks}}.dump().c_str());

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
    const Timing timing = measure(device, c, options.tiny);
    const auto line = record(c, timing, roofs, error);
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
    std::fprintf(stderr, "%-72s %9.4f ms  %3.0f %% of %s\n", title(c).c_str(), timing.median * 1e3,
                 100 * line["roof"]["fraction"].get<double>(), line["roof"]["name"].get<std::string>().c_str());
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace subquad::bench

int main(int argc, char** argv) {
  subquad::bench::Options options;
  CLI::App app("Times the CUDA kernels; every result is checked first.");
  app.add_option("--only", options.only, "only measurements whose line matches this regular expression");
  app.add_option("--dump", options.dump, "an existing folder for inputs and results, one file per op and precision");
  app.add_flag("--tiny", options.tiny, "sizes for the interpreter of tests/simt");
  CLI11_PARSE(app, argc, argv);
  try {
    return subquad::bench::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_gpu: %s\n", error.what());
    return 1;
  }
}
