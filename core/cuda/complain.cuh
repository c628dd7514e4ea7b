// The device side of report.h.
#pragma once

#include <cuda_runtime.h>

#include "subquad/core/cuda/report.h"

namespace subquad::cuda {

__device__ inline void complain(Report* report, Complaint what, Index position, Index value, Index limit) {
  if (atomicCAS(&report->taken, 0, 1) != 0) return;
  report->what = what;
  report->position = position;
  report->value = value;
  report->limit = limit;
  __threadfence_system();  // what is written above is there before the host is told of it
  *static_cast<volatile int*>(&report->written) = 1;
}

}  // namespace subquad::cuda
