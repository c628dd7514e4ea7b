// --profile: what some training steps of a run spend their time on.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "subquad/core/profile.h"
#include "subquad/core/shape.h"

namespace subquad::lra {

struct ProfiledStep {
  Index step = 0;
  double start = 0;  // seconds since the profile's start
  double seconds = 0;
  double waiting = 0;  // of them, at first, for the batch
};

struct StepProfile {
  Device device;
  std::vector<ProfiledStep> steps;
  std::vector<OpRecord> ops;  // of these steps, and of threads beside them, which have no phase
  std::uint64_t system_allocations = 0;

  double seconds() const;  // of the steps together
  double waiting() const;
};

// Looks at `count` steps after the first kWarmUp of the session, which allocate what the others use again.
class StepProfiler {
 public:
  static constexpr Index kWarmUp = 10;

  StepProfiler(Device device, Index count);

  // Around each training step, in this order.
  void begin_step(Index step);
  void batch_is_there();
  void end_step();

  bool full() const { return seen_ == kWarmUp + count_; }
  std::optional<StepProfile> take();  // of the steps so far; once. nullopt where there are none

 private:
  Device device_;
  Index count_;
  Index seen_ = 0;  // steps that ended
  std::unique_ptr<Profile> profile_;
  std::unique_ptr<ProfilePhase> phase_;
  std::uint64_t allocations_before_ = 0;
  StepProfile found_;
};

}  // namespace subquad::lra
