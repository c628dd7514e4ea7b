// Which kernels this process has launched, for coverage.sh.
#pragma once

#include <cstdint>

#include <simt/launch.h>

namespace simt {

// When the process ends, one line per kernel (mangled name, launches, most blocks, schedules) is appended to the file
// that SUBQUAD_SIMT_COVERAGE names.
void note_launch(const Launch& launch, std::uint64_t seed);

}  // namespace simt
