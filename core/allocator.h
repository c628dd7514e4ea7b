// The caching allocator behind every tensor: blocks are 64-byte aligned, go back to a free list when a tensor dies, and
// are handed out again without asking the system, so that a steady training step makes no system allocation at all. The
// cache is bounded: blocks are reused for requests of about their size, and on the CPU what the process holds stays
// below about twice what live tensors ever needed. How a GPU differs: core/cuda/allocator.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "subquad/core/device.h"

namespace subquad {

inline constexpr std::size_t kAlignment = 64;  // bytes: one cache line, one AVX-512 register

struct MemoryStats {
  std::size_t current_bytes = 0;         // in live tensors, as asked for
  std::size_t peak_bytes = 0;            // the largest current_bytes since reset_peak_memory
  std::size_t reserved_bytes = 0;        // taken from the system: live blocks and cached ones
  std::uint64_t allocations = 0;         // blocks handed out so far
  std::uint64_t system_allocations = 0;  // of those, how many had to ask the system
};

MemoryStats memory_stats(Device device = kCpu);
void reset_peak_memory(Device device = kCpu);
void release_cached_memory(Device device = kCpu);  // gives every unused block back to the system

// For Storage only. Blocks of 2 MiB and more are aligned to 2 MiB and asked to use huge pages. Zero bytes give nullptr.
// Error (naming the op that asks, the bytes asked, in use and peak) when the system has no more.
void* allocate(std::size_t bytes, Device device, const char* op);
void deallocate(void* block, std::size_t bytes, Device device) noexcept;

}  // namespace subquad
