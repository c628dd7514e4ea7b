// Stands in for core/cuda/shared_bytes.cuh: dynamic shared memory is a heap block of exactly the bytes asked for.
#pragma once

#include <simt/block.h>

namespace subquad::cuda {

inline unsigned char* shared_bytes() {
  return simt::shared_memory();
}

}  // namespace subquad::cuda
