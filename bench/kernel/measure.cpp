#include "subquad/bench/kernel/measure.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "subquad/autograd/backward.h"
#include "subquad/core/allocator.h"

namespace subquad::bench {

namespace {

double clock_seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

Seconds now() {
  return {clock_seconds(CLOCK_PROCESS_CPUTIME_ID), clock_seconds(CLOCK_MONOTONIC)};
}

Seconds operator-(const Seconds& a, const Seconds& b) {
  return {a.cpu - b.cpu, a.wall - b.wall};
}

double resident_bytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return 1024 * static_cast<double>(usage.ru_maxrss);
}

// What one core can reach: virtual machines are told the sum over all dies of a processor.
std::size_t last_cache_bytes() {
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const std::size_t most = std::size_t{64} << 20;
  return bytes > 0 ? std::min(static_cast<std::size_t>(bytes), most) : most;
}

}  // namespace

Runner::Runner(Work work, bool cold)
    : work_(std::move(work)),
      device_(work_.inputs.begin()->second.device()),
      swept_(cold ? 2 * last_cache_bytes() : 0) {
  for (const auto& [name, input] : work_.inputs)
    if (input.requires_grad()) leaves_.push_back(input);
}

// Drawn once, then used by every run.
std::vector<Tensor> Runner::upstream(const std::vector<Variable>& outs) {
  for (std::size_t i = upstream_.size(); i < outs.size(); ++i) {
    const nn::Place place(1, outs[i].dtype(), device_);
    upstream_.push_back(normal_input(place, cat("upstream", i), outs[i].shape()).value());
  }
  return upstream_;
}

// Other data takes the place of ours.
void Runner::sweep_cache() {
  for (std::size_t i = 0; i < swept_.size(); i += 64) ++swept_[i];
}

Repetition Runner::run() {
  Repetition repetition;
  sweep_cache();
  const Seconds start = now();
  std::vector<Variable> outs = work_.forward();
  synchronize(device_);
  const Seconds middle = now();
  repetition.forward = middle - start;
  if (!has_backward()) return repetition;
  const std::vector<Tensor> above = upstream(outs);
  sweep_cache();
  const Seconds resumed = now();
  const std::vector<Tensor> grads = grad(outs, leaves_, above);
  synchronize(device_);
  repetition.backward = now() - resumed;
  return repetition;
}

std::map<std::string, Tensor> Runner::results() {
  std::map<std::string, Tensor> named;
  const auto numbered = [](const std::string& name, std::size_t i) { return i == 0 ? name : cat(name, ".", i); };
  const std::vector<Variable> outs = work_.forward();
  for (std::size_t i = 0; i < outs.size(); ++i) named[numbered("out", i)] = outs[i].value();
  for (const auto& [name, input] : work_.inputs) named[name] = input.value();
  if (work_.also) named.merge(work_.also());
  if (!has_backward()) return named;
  const std::vector<Tensor> above = upstream(outs), grads = grad(outs, leaves_, above);
  for (std::size_t i = 0; i < outs.size(); ++i) named[numbered("upstream", i)] = above[i];
  auto next = grads.begin();
  for (const auto& [name, input] : work_.inputs)
    if (input.requires_grad()) named["grad." + name] = *next++;
  return named;
}

Memory Runner::memory() {
  if (has_backward() && upstream_.empty()) run();  // what comes from above counts as an input
  Memory memory;
  const auto before = static_cast<double>(memory_stats(device_).current_bytes);
  const auto most = [&] { return static_cast<double>(memory_stats(device_).peak_bytes) - before; };
  reset_peak_memory(device_);
  std::vector<Variable> outs = work_.forward();
  memory.inputs = before;
  memory.forward = memory.peak = most();
  if (has_backward()) {
    const std::vector<Tensor> grads = grad(outs, leaves_, upstream(outs));
    memory.peak = most();
  }
  memory.resident = resident_bytes();
  return memory;
}

Quartiles quartiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double q) {
    return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
  };
  return {values.front(), at(0.25), at(0.5), at(0.75)};
}

std::vector<Repetition> repeat(Runner& runner, const Effort& effort) {
  const Repetition first = runner.run();
  if (first.forward.wall + first.backward.wall < 1) runner.run();
  std::vector<Repetition> all;
  const Seconds start = now();
  const auto enough = [&] {
    const int done = static_cast<int>(all.size());
    const double spent = (now() - start).wall;
    return (done >= effort.repetitions && spent >= effort.seconds) || (done >= 3 && spent >= effort.most);
  };
  while (!enough()) all.push_back(runner.run());
  return all;
}

}  // namespace subquad::bench
