// A profile as a file in Chrome's trace event format: chrome://tracing and ui.perfetto.dev show it.
#pragma once

#include <filesystem>

#include "subquad/examples/lra/profile/roofs.h"
#include "subquad/examples/lra/profile/step_profile.h"

namespace subquad::lra {

// Complete events ("ph": "X"), times in microseconds: of thread 0 the steps with their ops inside, on CUDA the ops on a
// track of their own; of other threads what they did beside. An op's arguments: module, shapes, bytes, flops.
void write_trace(const StepProfile& profile, const Roofs& roofs, const std::filesystem::path& path);

}  // namespace subquad::lra
