// No time without its check: float32 results and gradients beside those of the same op in float64.
#pragma once

#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

struct CheckLimits {
  double tolerance = 2e-4;
  Index positions = 2048;
  bool gradients = true;  // false: results alone
};

// The largest difference of any result or gradient, relative to the largest element of it (of a gradient: of any
// gradient of the same rank, since some are zero but for rounding; where all of them are, to the largest result), at
// the settings' shape but with n at most `positions` and one sample. Of a tensor of more than two million elements the
// first and the last million are compared. Computes in precision(). Error naming what differs by more than the
// tolerance, or is not finite.
double check_against_float64(const Case& c, Settings settings, const nn::Place& place, const CheckLimits& limits = {});

}  // namespace subquad::bench
