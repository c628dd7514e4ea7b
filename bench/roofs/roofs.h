// What one thread of this machine does at best, measured on the spot, and how near a pass comes to it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

// A level of the memory: what is at most so large finds its bytes there when it runs again.
struct Level {
  std::string name;  // "L2"
  std::size_t size = 0;
  double bytes_per_second = 0;
};

struct Roofs {
  double flops_per_second = 0;  // multiplications and additions of float32
  std::vector<Level> levels;    // L2, L3, memory, whose size is unlimited

  const Level& level_of(double bytes) const;
};

// Takes about a second. Levels' sizes are the system's, of L3 no more than 32 MiB: virtual machines are told the sum
// over all dies of a processor.
Roofs measure_roofs();

// One line on standard error where the environment, not we, chose the kernels of OpenBLAS: they may be far below the roof.
void say_chosen_blas();

// The least seconds of a pass: the slowest of its products, its bytes at the level that holds them, and what it reads
// again from L2. Floors of parts, which come one after another, add up.
struct Floor {
  double seconds = 0;
  std::string by;  // "products", "L2", "L3", "memory", "parts"
};
Floor floor_of(const Count& count, const Roofs& roofs);
Floor forward_floor(const Work& work, const Roofs& roofs);
Floor backward_floor(const Work& work, const Roofs& roofs);

}  // namespace subquad::bench
