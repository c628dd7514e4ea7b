// A kernel and its peer timed in one benchmark, turn by turn, so that what else the machine does meets both alike.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <vector>

namespace subquad::bench {

// One thread is judged by the processor time it used, which waiting for others on a shared machine does not count;
// several by the wall clock.
inline double seconds(int threads) {
  timespec now;
  clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class F>
double time_of(int threads, F&& f) {
  const double start = seconds(threads);
  f();
  return seconds(threads) - start;
}

inline double quantile(std::vector<double> values, double q) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

struct Medians {
  double ours;  // seconds
  double peer;
};

// Runs ours and peer in turn for as long as `state` wants (manual time: that of ours) and adds counters: both medians
// and ours_q1, ours_q3 in milliseconds, and `ratio` = peer / ours, above 1 where ours is faster.
template <class Ours, class Peer>
Medians run_against(benchmark::State& state, int threads, Ours&& ours, Peer&& peer) {
  ours(), peer(), ours(), peer();  // caches, pages, pool of threads
  std::vector<double> ours_times, peer_times;
  for (auto _ : state) {
    ours_times.push_back(time_of(threads, ours));
    peer_times.push_back(time_of(threads, peer));
    state.SetIterationTime(ours_times.back());
  }
  const Medians medians = {quantile(ours_times, 0.5), quantile(peer_times, 0.5)};
  state.counters["ours_ms"] = medians.ours * 1e3;
  state.counters["ours_q1"] = quantile(ours_times, 0.25) * 1e3;
  state.counters["ours_q3"] = quantile(ours_times, 0.75) * 1e3;
  state.counters["peer_ms"] = medians.peer * 1e3;
  state.counters["ratio"] = medians.peer / medians.ours;
  return medians;
}

}  // namespace subquad::bench
