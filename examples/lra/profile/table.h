// A profile as a table: ops by their share of the step, what lies between them, and what a steady step should not do.
#pragma once

#include <string>
#include <vector>

#include "subquad/examples/lra/profile/roofs.h"
#include "subquad/examples/lra/profile/step_profile.h"

namespace subquad::lra {

// All calls of an op in one phase, in all steps together.
struct OpTotal {
  std::string name, phase;
  double calls = 0;
  double seconds = 0;  // without ops inside
  double bytes = 0, flops = 0;
  double roof_seconds = 0;  // the least that the device could take for the same
};

// Copies of one module in one phase, in all steps together.
struct CopyTotal {
  std::string phase, module;
  double calls = 0, bytes = 0;  // written
  Shape shape;                  // of the first
};

std::vector<OpTotal> op_totals(const StepProfile& profile, const Roofs& roofs);  // the longest first
std::vector<CopyTotal> copy_totals(const StepProfile& profile);                  // the largest first
double seconds_outside_ops(const StepProfile& profile);                          // and not waiting for a batch

std::string profile_table(const StepProfile& profile, const Roofs& roofs);

}  // namespace subquad::lra
