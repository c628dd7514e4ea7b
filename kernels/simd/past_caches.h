// When results are large, lines that are fetched only to be overwritten cost more than what the next reader does not
// find in a cache: such results are written past the caches. From how many bytes on depends on what else a kernel
// reads, and was measured for each of them, as a share of kLastCache.
#pragma once

#include <cstdint>

#include "subquad/core/shape.h"

namespace subquad::kernels {

inline constexpr Index kLastCache = Index{32} << 20;  // bytes
inline constexpr Index kCacheLine = 64;

// Do rows of so many bytes, one behind the other from `at` on, begin and end with lines? Others are not written so.
inline bool on_whole_lines(const void* at, Index row_bytes) {
  return row_bytes % kCacheLine == 0 && reinterpret_cast<std::uintptr_t>(at) % kCacheLine == 0;
}

}  // namespace subquad::kernels
