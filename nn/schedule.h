// Learning-rate schedules: pure functions of the step. Step i counts from 0; w = warmup, S = total, r = rate, the peak.
//
//   constant      r min(1, i/w)
//   linear        r min(1, i/w) for i <= w, then r (S - i) / (S - w), 0 from S on
//   cosine        r min(1, i/w) (1 + cos(pi t)) / 2,  t = clamp((i - w) / cycle, 0, 1);  cycle = S - w unless given
//   inverse_sqrt  r min(1, i/w) sqrt(w / max(i, w))   (w = 0 counts as 1)
//   one_cycle     r/25 at 0, r at w - 1, r/25e4 at S - 1, straight lines between (PyTorch's OneCycleLR with linear
//                 annealing and its defaults)
//
// The first four follow the JAX code of Long Range Arena (Tay et al. 2021); its "0.05 / sqrt(max(i, w))" is rate =
// 0.05 / sqrt(w) here. Without warm-up min(1, i/w) is 1.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::nn {

enum class ScheduleKind { constant, linear, cosine, inverse_sqrt, one_cycle };
ScheduleKind parse_schedule(std::string_view name);  // Error lists the legal names
std::string_view schedule_name(ScheduleKind kind);

struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double rate = 1e-3;
  Index warmup = 0;
  Index total = 0;  // steps of the whole run; not used by constant, inverse_sqrt and a cosine with a cycle
  Index cycle = 0;  // cosine only: steps from peak to 0; 0 = total - warmup

  double at(Index step) const;  // Error when total is used and below 1
};

// The beta1 that OneCycleLR moves along with the rate: 0.95 at 0, 0.85 at w - 1, 0.95 at S - 1.
double one_cycle_beta1(const Schedule& schedule, Index step);

}  // namespace subquad::nn
