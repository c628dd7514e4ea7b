// What the device reaches at best, measured on the spot: what the ops of a profile are held against.
#pragma once

#include <string>
#include <vector>

#include "subquad/core/device.h"
#include "subquad/core/precision.h"

namespace subquad::lra {

struct Bandwidth {
  double bytes = 0;  // that were read or written
  double rate = 0;   // per second
};

struct Roofs {
  double flops = 0;  // per second: multiply-add chains in all threads; on CUDA a product of matrices
  // Of bytes moved again and again (kernels/peak/bandwidth.h), from small to large: what fits a cache comes from there.
  // On CUDA a copy of one size, of memory.
  std::vector<Bandwidth> levels;

  // The least time that so much work can take.
  double seconds(double operations, double bytes) const;
  std::string text() const;  // a line
};

Roofs measure_roofs(Device device, Precision precision);

}  // namespace subquad::lra
