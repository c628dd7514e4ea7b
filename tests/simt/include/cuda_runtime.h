// Stands in for CUDA's header of the same name: kernels and the code that launches them compile as plain C++ and run on
// the CPU. README.md says how.
#pragma once

#include <simt/device.h>
#include <simt/host.h>
