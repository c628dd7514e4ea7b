// bench_primitives, bench_attentions, bench_layers, bench_training: Google Benchmark over one family of the table of
// bench/kernel/rows.h, forward and backward apart.
//
//   build/release/bin/bench_attentions --benchmark_filter=nystrom --benchmark_out=nystrom.json
//   build/release/bin/bench_attentions --cold                   inputs come from memory, not from a cache
//
// Each row is compared with float64 before it is timed. Times are processor time of one thread. Counters: median,
// minimum and quartiles in ms of `reps` runs, five or more however long one takes, GF/s and GB/s of what the mechanism
// asks for, `roof` (the share of the floor in the median; what the floor is made of is the label), `fma` (products alone
// over the FMA peak), and the most bytes that were allocated.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "subquad/bench/kernel/check.h"
#include "subquad/bench/kernel/measure.h"
#include "subquad/bench/kernel/provenance.h"
#include "subquad/bench/kernel/rows.h"
#include "subquad/bench/roofs/roofs.h"
#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"

namespace subquad::bench {
namespace {

enum class Pass { forward, backward };

constexpr int kColdRuns = 15;
constexpr std::size_t kLeastRuns = 5;

struct Program {
  Roofs roofs;
  bool cold = false;
};

// The inputs of a row, made when it is timed first and dropped when another row's turn comes.
class Stage {
 public:
  Runner& runner(const Row& row, bool cold) {
    if (row.title() != title_) {
      runner_.reset();
      const Case c = find_case(row.op);
      Settings settings(c.op, c.settings);
      row.apply(settings);
      const nn::Place place(1, kFloat32, kCpu);
      if (!c.turns_on_rounding) check_against_float64(c, settings, place);
      runner_ = std::make_unique<Runner>(c.make(settings, place), cold);
      memory_ = runner_->memory();
      title_ = row.title();
    }
    return *runner_;
  }
  const Memory& memory() const { return memory_; }

 private:
  std::string title_;
  std::unique_ptr<Runner> runner_;
  Memory memory_;
};

void report(benchmark::State& state, const std::vector<double>& seconds, const Count& count, const Floor& floor,
            const Roofs& roofs, double peak_bytes) {
  const Quartiles q = quartiles(seconds);
  state.counters["reps"] = static_cast<double>(seconds.size());
  state.counters["median_ms"] = q.median * 1e3;
  state.counters["min_ms"] = q.min * 1e3;
  state.counters["q1_ms"] = q.q1 * 1e3;
  state.counters["q3_ms"] = q.q3 * 1e3;
  state.counters["floor_ms"] = floor.seconds * 1e3;
  state.counters["GF/s"] = count.flops / q.median * 1e-9;
  state.counters["GB/s"] = count.bytes / q.median * 1e-9;
  state.counters["fma"] = count.flops / roofs.flops_per_second / q.median;
  state.counters["roof"] = floor.seconds / q.median;
  state.counters["peak_MB"] = peak_bytes * 1e-6;
  state.SetLabel(floor.by);
}

void time_row(benchmark::State& state, const Row& row, Pass pass, const Program& program, Stage& stage) {
  try {
    Runner& runner = stage.runner(row, program.cold);
    const Work& work = runner.work();
    runner.run();
    std::vector<double> seconds;
    const auto run_once = [&] {
      const Repetition r = runner.run();
      seconds.push_back((pass == Pass::forward ? r.forward : r.backward).cpu);
    };
    for (auto _ : state) {
      run_once();
      state.SetIterationTime(seconds.back());
    }
    while (seconds.size() < kLeastRuns) run_once();  // Google Benchmark is content with one that is long
    const bool ahead = pass == Pass::forward;
    report(state, seconds, ahead ? work.forward_count : work.backward_count,
           ahead ? forward_floor(work, program.roofs) : backward_floor(work, program.roofs), program.roofs,
           ahead ? stage.memory().forward : stage.memory().peak);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

void register_family(const std::string& family, const Program& program, Stage& stage) {
  for (const Row& row : rows()) {
    if (row.family != family) continue;
    std::string name = row.title();
    for (char& c : name) c = c == ' ' ? '/' : c == '=' ? ':' : c;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      if (pass == Pass::backward && !find_case(row.op).has_backward) continue;
      const std::string full = cat(name, pass == Pass::forward ? "/forward" : "/backward", program.cold ? "/cold" : "");
      auto* timed = benchmark::RegisterBenchmark(
          full.c_str(), [=, &program, &stage](benchmark::State& state) { time_row(state, row, pass, program, stage); });
      timed->Unit(benchmark::kMillisecond)->UseManualTime();
      if (program.cold) timed->Iterations(kColdRuns);  // to empty the caches takes longer than most rows
    }
  }
}

// Takes --cold out of the arguments.
bool take_cold(int& argc, char** argv) {
  const auto end = std::remove(argv + 1, argv + argc, std::string_view("--cold"));
  const bool found = end != argv + argc;
  argc = static_cast<int>(end - argv);
  return found;
}

int run(int argc, char** argv) {
  Program program{{}, take_cold(argc, argv)};
  Stage stage;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  set_num_threads(1);
  omp_set_num_threads(1);
  flush_denormals();  // as training does
  say_chosen_blas();
  program.roofs = measure_roofs();
  const nlohmann::ordered_json context = provenance();
  for (const auto& [name, value] : context.items())
    benchmark::AddCustomContext(name, value.is_string() ? value.get<std::string>() : value.dump());
  benchmark::AddCustomContext("threads", "1");
  benchmark::AddCustomContext("cache", program.cold ? "cold" : "warm");
  benchmark::AddCustomContext("fma_peak_gflops", cat(program.roofs.flops_per_second * 1e-9));
  for (const Level& level : program.roofs.levels)
    benchmark::AddCustomContext(level.name + "_gbytes", cat(level.bytes_per_second * 1e-9));
  register_family(SUBQUAD_BENCH_FAMILY, program, stage);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace subquad::bench

int main(int argc, char** argv) {
  return subquad::bench::run(argc, argv);
}
