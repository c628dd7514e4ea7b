#include "subquad/bench/gpu/timing.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/graph.h"

namespace subquad::bench::gpu {

namespace {

class Stopwatch {
 public:
  Stopwatch() {
    cuda::check(cudaEventCreateWithFlags(&start_, cudaEventDefault), "cudaEventCreateWithFlags");
    cuda::check(cudaEventCreateWithFlags(&stop_, cudaEventDefault), "cudaEventCreateWithFlags");
  }
  ~Stopwatch() {
    cudaEventDestroy(start_);
    cudaEventDestroy(stop_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  // Seconds that the device takes for what f asks of it.
  double time(const std::function<void()>& f) {
    float milliseconds = 0;
    cuda::check(cudaEventRecord(start_, cuda::current_stream()), "cudaEventRecord");
    f();
    cuda::check(cudaEventRecord(stop_, cuda::current_stream()), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(stop_), "cudaEventSynchronize");
    cuda::check(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
    return 1e-3 * milliseconds;
  }

 private:
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

Timing timing_of(std::vector<double> seconds, int repetitions) {
  std::sort(seconds.begin(), seconds.end());
  return {quantile(seconds, 0.5), seconds.front(), quantile(seconds, 0.25), quantile(seconds, 0.75), repetitions};
}

}  // namespace

Timing time_on_gpu(Device device, std::vector<Prepared> sets, bool quick) {
  Graph graph;
  const std::vector<Prepared> turns = std::move(sets);  // let go of what the graph has made before the graph goes
  for (const Prepared& set : turns) set.run();          // warm up: handles, kernels, memory
  synchronize(device);
  const int count = static_cast<int>(turns.size());
  const auto capture = [&](int rounds) {
    graph = Graph::capture(device, [&] {
      for (int round = 0; round < rounds; ++round)
        for (const Prepared& set : turns) set.run();
    });
    graph.replay();
    synchronize(device);
  };
  Stopwatch watch;
  capture(1);
  const double once = watch.time([&] { graph.replay(); }) / count;
  if (quick) return timing_of({once}, count);
  const double wanted = std::clamp(3e-3 / std::max(once, 1e-7), 10.0, 500.0);  // 3 ms hide the replay's start
  const int rounds = static_cast<int>(std::ceil(wanted / count));
  capture(rounds);

  const int per_replay = rounds * count;
  Timing timing;
  for (int attempt = 0; attempt < 3; ++attempt) {
    std::vector<double> seconds;
    double total = 0;
    while (seconds.size() < 20 || total < 0.3) {
      seconds.push_back(watch.time([&] { graph.replay(); }) / per_replay);
      total += seconds.back() * per_replay;
    }
    timing = timing_of(seconds, static_cast<int>(seconds.size()) * per_replay);
    if (timing.q3 <= 1.2 * timing.q1) break;
  }
  return timing;
}

}  // namespace subquad::bench::gpu
