// bench_kernel: how long one primitive or attention takes on the shape that you name, and how much memory.
//
//   bench_kernel chord_matmul --n 4096 --d 64 --batch 8
//   bench_kernel nystrom --growth                      n from 2^10 to 2^16, with fitted exponents
//   bench_kernel --list
//   bench_kernel --rows                                the table of sizes and targets that bench/compare.sh goes
//   through
//
// For people on standard error, one JSON line per measurement on standard output. --dump and --turns are for
// bench/peers: the same inputs for another engine, and runs when a line of standard input asks for them.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "subquad/bench/kernel/check.h"
#include "subquad/bench/kernel/record.h"
#include "subquad/bench/kernel/rows.h"
#include "subquad/core/parallel.h"
#include "subquad/core/safetensors.h"

namespace subquad::bench {
namespace {

struct Options {
  std::string op, device = "cpu", dtype = "float32", dump;
  int threads = 1;
  std::uint64_t seed = 1;
  Effort effort;
  bool list = false, rows = false, growth = false, turns = false, cold = false;
  Index from = 1 << 10, to = 1 << 16;
};

nn::Place place_of(const Options& options) {
  for (const DType dtype : {kFloat32, kFloat64})
    if (options.dtype == dtype_name(dtype)) return {options.seed, dtype, parse_device(options.device)};
  throw Error("--dtype is '" + options.dtype + "', expected float32 or float64");
}

Context context_of(const Options& options) {
  const nn::Place place = place_of(options);
  Context context = {place.device(), place.dtype(), num_threads(), options.cold};
  if (place.device().is_cpu()) say_chosen_blas();
  if (place.device().is_cpu() && place.dtype() == kFloat32 && num_threads() == 1) context.roofs = measure_roofs();
  return context;
}

Measured measure(Runner& runner, const Effort& effort, const Context& context) {
  Measured m = {repeat(runner, effort), runner.memory(), runner.work().forward_count, runner.work().backward_count,
                runner.has_backward()};
  if (context.roofs) {
    m.forward_floor = forward_floor(runner.work(), *context.roofs);
    m.backward_floor = backward_floor(runner.work(), *context.roofs);
  }
  return m;
}

Measured report(const Case& c, const Settings& settings, const Options& options, const Context& context,
                Runner& runner) {
  const Measured measured = measure(runner, options.effort, context);
  std::cout << record(settings, measured, context, c.op).dump() << std::endl;
  std::cerr << line(settings, measured, context, c.op);
  return measured;
}

// " --pattern logsparse": those that differ from the defaults, all but n.
std::string chosen(const Case& c, const Settings& settings) {
  std::string text;
  for (const Setting& s : c.settings)
    if (s.name != "n" && settings.text(s.name) != s.value) text += cat(" --", s.name, ' ', settings.text(s.name));
  return text;
}

void report_growth(const Case& c, Settings settings, const Options& options) {
  std::vector<Point> points;
  const Context context = context_of(options);
  for (Index n = options.from; n <= options.to; n *= 2) {
    settings.set("n", cat(n));
    Runner runner(c.make(settings, place_of(options)), options.cold);
    const Measured m = report(c, settings, options, context, runner);
    points.push_back({static_cast<double>(n), m.cpu(), m.forward.flops + m.backward.flops, m.memory.peak,
                      m.forward.bytes + m.backward.bytes});
  }
  if (points.size() < 2)
    throw Error(cat("--growth needs at least two n from --from ", options.from, " to --to ", options.to));
  const Growth g = fit(points);
  nlohmann::ordered_json shape = nlohmann::ordered_json::object();
  for (const Setting& s : settings.all())
    if (s.name != "n") shape[s.name] = s.value;
  const nlohmann::ordered_json json = {{"op", c.op},
                                       {"shape", shape},
                                       {"growth",
                                        {{"from", options.from},
                                         {"to", options.to},
                                         {"time", g.seconds},
                                         {"flops", g.flops},
                                         {"allocated", g.allocated},
                                         {"bytes", g.bytes},
                                         {"time_met", g.time_met()},
                                         {"memory_met", g.memory_met()}}}};
  std::cout << json.dump() << std::endl;
  const std::string name = c.op + chosen(c, settings);
  std::fprintf(stderr, "%s, n = %lld ... %lld: time n^%.2f (counted flops n^%.2f, bytes n^%.2f) %s\n", name.c_str(),
               static_cast<long long>(options.from), static_cast<long long>(options.to), g.seconds, g.flops, g.bytes,
               g.time_met() ? "met" : "ABOVE");
  std::fprintf(stderr, "%*s allocated n^%.2f (counted bytes n^%.2f) %s\n", static_cast<int>(name.size()), "",
               g.allocated, g.bytes, g.memory_met() ? "met" : "ABOVE");
}

Index count_in(const std::string& line) {
  Index count = 1;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), count);
  if (!line.empty() && (error != std::errc() || end != line.data() + line.size() || count < 1))
    throw Error("--turns: '" + line + "' is not a count of runs");
  return count;
}

// As many runs as a line of standard input says (one when it is empty), so that a peer can take turns; each line is
// answered by the mean processor time of a run.
void take_turns(Runner& runner) {
  for (std::string line; std::getline(std::cin, line);) {
    const Index runs = count_in(line);
    double ahead = 0, back = 0;
    for (Index i = 0; i < runs; ++i) {
      const Repetition r = runner.run();
      ahead += r.forward.cpu / static_cast<double>(runs);
      back += r.backward.cpu / static_cast<double>(runs);
    }
    const nlohmann::ordered_json json = {{"forward", ahead}, {"backward", back}};
    std::cout << json.dump() << std::endl;
  }
}

void list_cases() {
  for (const Case& c : all_cases()) {
    std::cout << c.op << ": " << c.about << '\n';
    for (const Setting& s : c.settings) std::cout << "    --" << s.name << ' ' << s.value << "  " << s.meaning << '\n';
  }
}

// A JSON line each: what was chosen for it, all of its settings, and what is asked of it.
void list_rows() {
  for (const Row& row : rows()) {
    const Case c = find_case(row.op);
    Settings settings(c.op, c.settings);
    row.apply(settings);
    nlohmann::ordered_json json = {{"family", row.family}, {"op", row.op}, {"title", row.title()}};
    if (row.length > 0) json["length"] = row.length;
    for (const Setting& s : settings.all()) json["shape"][s.name] = s.value;
    if (!row.target.name.empty())
      json["target"] = {{"name", row.target.name},
                        {"forward_roof", row.target.forward_roof},
                        {"backward_roof", row.target.backward_roof},
                        {"peer", row.target.peer},
                        {"products", row.target.products}};
    std::cout << json.dump() << '\n';
  }
}

void run(const Options& options, const Case& c, const Settings& settings) {
  place_of(options);  // an unknown device or dtype is said first
  set_num_threads(options.threads);
  omp_set_num_threads(options.threads);
  flush_denormals();  // as training does
  if (!options.turns && options.dtype == dtype_name(kFloat32) && !c.turns_on_rounding)
    check_against_float64(c, settings, place_of(options));
  if (options.growth) return report_growth(c, settings, options);
  Runner runner(c.make(settings, place_of(options)), options.cold);
  if (!options.dump.empty()) write_safetensors(options.dump, {.metadata = {{"op", c.op}}, .tensors = runner.results()});
  if (options.turns) return take_turns(runner);
  if (options.dump.empty()) report(c, settings, options, context_of(options), runner);
}

// No op stands first: says where it must, or which there are.
[[noreturn]] void refuse_unnamed(int argc, char** argv) {
  for (const Case& c : all_cases())
    for (int i = 2; i < argc; ++i)
      if (c.op == argv[i]) throw Error(cat("the op comes first: bench_kernel ", c.op, " ", argv[1], " ..."));
  find_case("");
  throw InternalError("there is an op without a name");
}

int run_program(int argc, char** argv) {
  Options options;
  CLI::App app("Times one primitive or attention on the shape that you name.");
  app.add_option("op", options.op, "what to time; --list tells the names");
  app.add_flag("--list", options.list, "every op and what can be chosen for it");
  app.add_flag("--rows", options.rows, "sizes and targets of the benchmarks, a JSON line each");
  app.add_option("--device", options.device, "cpu, cuda, cuda:1")->capture_default_str();
  app.add_option("--dtype", options.dtype, "float32 or float64")->capture_default_str();
  app.add_option("--threads", options.threads, "threads of the CPU")->capture_default_str()->check(CLI::Range(1, 4096));
  app.add_option("--seed", options.seed, "of the random inputs")->capture_default_str();
  app.add_option("--seconds", options.effort.seconds, "measure at least so long")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("--repetitions", options.effort.repetitions, "and so often")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--cold", options.cold, "inputs come from memory, not from a cache");
  CLI::Option* growth =
      app.add_flag("--growth", options.growth, "cold, over n, doubled from --from to --to, with fitted exponents");
  const CLI::Range lengths(Index{1}, Index{1} << 40);
  app.add_option("--from", options.from, "first n")->capture_default_str()->check(lengths)->needs(growth);
  app.add_option("--to", options.to, "last n")->capture_default_str()->check(lengths)->needs(growth);
  app.add_option("--dump", options.dump, "write inputs, results and gradients to this safetensors file")
      ->excludes(growth);
  app.add_flag("--turns", options.turns, "as many runs as each line of standard input says")->excludes(growth);

  // The op comes first on the command line and says which further options there are.
  const bool named = argc > 1 && argv[1][0] != '-';
  const Case c = named ? find_case(argv[1]) : Case{};
  Settings settings(c.op, c.settings);
  for (const Setting& s : c.settings) {
    CLI::Option* option = app.add_option_function<std::string>(
        "--" + s.name, [&settings, name = s.name](const std::string& value) { settings.set(name, value); }, s.meaning);
    option->default_str(s.value)->group(c.op);
    if (s.name == "n") option->excludes(growth);
  }
  app.allow_extras(!named);  // they are answered with what there is
  CLI11_PARSE(app, argc, argv);
  if (options.list) {
    list_cases();
    return 0;
  }
  if (options.rows) {
    list_rows();
    return 0;
  }
  options.cold = options.cold || options.growth;
  if (!named) refuse_unnamed(argc, argv);
  run(options, c, settings);
  return 0;
}

}  // namespace
}  // namespace subquad::bench

int main(int argc, char** argv) {
  try {
    return subquad::bench::run_program(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_kernel: %s\n", error.what());
    return 1;
  }
}
