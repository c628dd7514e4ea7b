// What kind of machine the stand-in is. The environment chooses at the start: SUBQUAD_SIMT_DEVICES (1),
// SUBQUAD_SIMT_DRIVER (13000, that is CUDA 13.0; 0: no driver), SUBQUAD_SIMT_MEMORY (bytes per device, 4 GiB),
// SUBQUAD_SIMT_SHARED (the most bytes of shared memory that a block may ask for: 232448 as on compute capability 9.0;
// 166912 on 8.0, 101376 on 8.6, 8.9 and 12.0), SUBQUAD_SIMT_PROTECT (1; 0: the host may touch device memory, which
// would crash on a real machine and does here otherwise). Tests may choose anew.
#pragma once

#include <cstddef>
#include <string>

namespace simt {

struct Machine {
  int devices = 1;
  int driver = 13000;
  std::size_t memory_bytes = std::size_t{4} << 30;
  std::size_t shared_bytes = std::size_t{227} << 10;
  bool protect = true;
};
Machine& machine();

// How often the host has waited for a device so far, hidden waits included.
std::size_t synchronisations();

// How often a profiler's range of that name was opened.
std::size_t ranges_opened(const std::string& name);

}  // namespace simt
