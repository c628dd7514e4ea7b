#include "subquad/examples/lra/profile/step_profile.h"

#include <numeric>
#include <utility>

#include "subquad/core/allocator.h"

namespace subquad::lra {

double StepProfile::seconds() const {
  return std::accumulate(steps.begin(), steps.end(), 0.0,
                         [](double sum, const ProfiledStep& step) { return sum + step.seconds; });
}

double StepProfile::waiting() const {
  return std::accumulate(steps.begin(), steps.end(), 0.0,
                         [](double sum, const ProfiledStep& step) { return sum + step.waiting; });
}

StepProfiler::StepProfiler(Device device, Index count) : device_(device), count_(count) {
  found_.device = device;
}

void StepProfiler::begin_step(Index step) {
  if (seen_ < kWarmUp || full()) return;
  if (profile_ == nullptr) {
    synchronize(device_);
    profile_ = std::make_unique<Profile>(device_);
  }
  allocations_before_ = memory_stats(device_).system_allocations;
  found_.steps.push_back({.step = step, .start = profile_->seconds()});
  phase_ = std::make_unique<ProfilePhase>("forward");
}

void StepProfiler::batch_is_there() {
  if (phase_ == nullptr) return;
  ProfiledStep& step = found_.steps.back();
  step.waiting = profile_->seconds() - step.start;
}

void StepProfiler::end_step() {
  if (!full()) ++seen_;
  if (phase_ == nullptr) return;
  if (full()) synchronize(device_);  // the last step ends when the device is through
  phase_.reset();
  ProfiledStep& step = found_.steps.back();
  step.seconds = profile_->seconds() - step.start;
  found_.system_allocations += memory_stats(device_).system_allocations - allocations_before_;
}

std::optional<StepProfile> StepProfiler::take() {
  if (profile_ == nullptr) return std::nullopt;
  found_.ops = profile_->records();
  std::erase_if(found_.ops, [](const OpRecord& op) { return op.thread == 0 && *op.phase == '\0'; });  // validations
  profile_.reset();
  return std::exchange(found_, {});
}

}  // namespace subquad::lra
