// Runs a Work again and again and says how long each run took and how much memory it needed.
#pragma once

#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

struct Seconds {
  double cpu = 0;  // processor time of all threads: what one thread is judged by on a machine that others use, too
  double wall = 0;
};

struct Repetition {
  Seconds forward, backward;
};

struct Memory {         // bytes, from the allocator's statistics
  double inputs = 0;    // live before the run: inputs, parameters, the gradient from above
  double forward = 0;   // most that forward added to them
  double peak = 0;      // most that forward and backward added to them
  double resident = 0;  // of the whole process, the most so far, from the system
};

class Runner {
 public:
  // cold: each pass finds its inputs in memory, not in a cache. So times at different sizes differ by their work, not
  // by the cache that the smaller ones fit.
  explicit Runner(Work work, bool cold = false);

  const Work& work() const { return work_; }
  bool has_backward() const { return !leaves_.empty(); }

  // Forward, then backward where there is one. What was allocated goes back before it returns.
  Repetition run();

  // The same once, keeping what came out under the names that bench/peers reads: the inputs under their own, the
  // results as out, out.1, ..., the gradient from above as upstream, ..., gradients as grad.NAME.
  std::map<std::string, Tensor> results();

  Memory memory();  // of one run

 private:
  std::vector<Tensor> upstream(const std::vector<Variable>& outs);
  void sweep_cache();

  Work work_;
  Device device_;
  std::vector<Variable> leaves_;
  std::vector<Tensor> upstream_;
  std::vector<unsigned char> swept_;  // as large as twice the last cache; empty when hot
};

struct Quartiles {
  double min = 0, q1 = 0, median = 0, q3 = 0;
};
Quartiles quartiles(std::vector<double> values);

struct Effort {
  double seconds = 0.3;  // at least so long, what empties the caches included,
  int repetitions = 5;   // and so often, ...
  double most = 60;      // ... but no longer than this, if there were three
};

// Two runs to warm up (one where a run takes over a second), then as many as `effort` says.
std::vector<Repetition> repeat(Runner& runner, const Effort& effort);

}  // namespace subquad::bench
