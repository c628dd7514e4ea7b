#include "subquad/nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "subquad/nn/choice.h"

namespace subquad::nn {

namespace {

constexpr Choices<ScheduleKind, 5> kSchedules = {{{"constant", ScheduleKind::constant},
                                                  {"linear", ScheduleKind::linear},
                                                  {"cosine", ScheduleKind::cosine},
                                                  {"inverse_sqrt", ScheduleKind::inverse_sqrt},
                                                  {"one_cycle", ScheduleKind::one_cycle}}};

// (i - from) / (to - from) in [0, 1]; 1 when the way has no length.
double progress(Index i, Index from, Index to) {
  if (to <= from) return i >= to ? 1 : 0;
  return std::clamp(static_cast<double>(i - from) / static_cast<double>(to - from), 0.0, 1.0);
}

void check_total(const Schedule& s) {
  if (s.total < 1)
    throw Error(cat("schedule: ", schedule_name(s.kind), " with total ", s.total, ", expected at least 1 step"));
}

// Straight lines: from `start` up (or down) to `top` at step w - 1, from there to `end` at S - 1.
double one_cycle(const Schedule& s, Index step, double start, double top, double end) {
  check_total(s);
  const Index peak = std::max<Index>(s.warmup, 1) - 1;
  if (step < peak) return std::lerp(start, top, progress(step, 0, peak));
  return std::lerp(top, end, progress(step, peak, s.total - 1));
}

double decay(const Schedule& s, Index step) {
  switch (s.kind) {
    case ScheduleKind::constant: return 1;
    case ScheduleKind::linear: check_total(s); return 1 - progress(step, s.warmup, s.total);
    case ScheduleKind::cosine: {
      if (s.cycle <= 0) check_total(s);
      const Index cycle = s.cycle > 0 ? s.cycle : s.total - s.warmup;
      return 0.5 * (1 + std::cos(std::numbers::pi * progress(step, s.warmup, s.warmup + cycle)));
    }
    case ScheduleKind::inverse_sqrt: {
      const Index warmup = std::max<Index>(s.warmup, 1);
      return std::sqrt(static_cast<double>(warmup) / static_cast<double>(std::max(step, warmup)));
    }
    case ScheduleKind::one_cycle: break;
  }
  throw InternalError("schedule: kind out of range");
}

}  // namespace

ScheduleKind parse_schedule(std::string_view name) {
  return choose("schedule", kSchedules, name);
}

std::string_view schedule_name(ScheduleKind kind) {
  return name_of(kSchedules, kind);
}

double Schedule::at(Index step) const {
  constexpr double kStart = 25, kEnd = 1e4;  // OneCycleLR's div_factor and final_div_factor
  if (kind == ScheduleKind::one_cycle) return one_cycle(*this, step, rate / kStart, rate, rate / kStart / kEnd);
  return rate * progress(step, 0, warmup) * decay(*this, step);
}

double one_cycle_beta1(const Schedule& schedule, Index step) {
  return one_cycle(schedule, step, 0.95, 0.85, 0.95);
}

}  // namespace subquad::nn
