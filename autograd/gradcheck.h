// Compares gradients with central differences, in float64.
//
//   numeric_j = <u, f(x + h v) - f(x - h v)> / (2 h)     analytic_j = <v, grad_x <u, f(x)>>
//
// for random directions v (every unit vector when an input has at most `full_limit` elements) and random upstreams u,
// one per output. Inputs must be away from kinks; the checker does not look for them.
#pragma once

#include <functional>

#include "subquad/autograd/variable.h"

namespace subquad {

struct GradcheckOptions {
  double step = 1e-5;       // h, relative to max(1, |x|)
  double tolerance = 1e-6;  // on |numeric - analytic| / scale
  double floor = 1e-3;      // scale = max(floor, largest |numeric| or |analytic| of the same input)
  Index full_limit = 64;    // inputs up to this size get the full Jacobian
  int directions = 8;       // random directions for larger ones
  std::uint64_t seed = 1;
};

struct GradcheckResult {
  bool passed = true;
  double worst = 0;     // largest relative error
  std::string message;  // where, and both values; "" when passed
  explicit operator bool() const { return passed; }
};

using GradcheckFn = std::function<std::vector<Variable>(const std::vector<Variable>&)>;

// inputs: float64 leaves; those that require a gradient are checked. Integer inputs are left alone. Outputs that are
// not floating point are ignored.
GradcheckResult gradcheck(const GradcheckFn& f, const std::vector<Variable>& inputs, GradcheckOptions options = {});

}  // namespace subquad
