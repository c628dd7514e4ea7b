// Stands in for NVTX: ranges are counted (simt/machine.h) instead of shown by a profiler.
#pragma once

int nvtxRangePushA(const char* name);
int nvtxRangePop();
