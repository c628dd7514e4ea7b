// Elements that are only moved, as so many bytes: moving kernels are compiled per size, not per dtype.
#pragma once

#include <cstdint>

#include "subquad/core/dtype.h"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {

// Calls f(Type<Unit>) with a unit of `bytes` bytes: 1, 2, 4, 8 or 16.
template <class F>
void visit_unit(std::size_t bytes, F&& f) {
  switch (bytes) {
    case 1: return f(Type<std::uint8_t>{});
    case 2: return f(Type<std::uint16_t>{});
    case 4: return f(Type<std::uint32_t>{});
    case 8: return f(Type<std::uint64_t>{});
    case 16: return f(Type<Pack<std::uint64_t, 2>>{});
  }
  throw InternalError(cat("visit_unit: ", bytes, " bytes"));
}

}  // namespace subquad::kernels::cuda
