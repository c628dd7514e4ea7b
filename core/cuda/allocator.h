// The caching allocator of CUDA devices, behind core/allocator.h. Blocks are aligned to at least 256 bytes
// (cudaMalloc's promise), as large as a multiple of 512, and used again in the order of the device's one stream:
// whoever frees a block has launched all that touches it, whoever gets it launches later, so no event is needed. Other
// streams that use a block must be ordered by their owner (core/upload.h). The cache may grow until the device is full;
// before an allocation fails it is given back.
//
// With SUBQUAD_CUDA_CACHE=off in the environment there is no cache: blocks are as large as was asked for, and go back
// to the driver when they are freed, after waiting for the device. That is slow, but compute-sanitizer then sees reads
// of freed or never written memory and past a tensor's end. Blocks that are freed while a graph is recorded go back
// with the next one that is freed after it; a graph keeps its own blocks as ever.
#pragma once

#include <cstddef>
#include <memory>

#include "subquad/core/allocator.h"

namespace subquad::cuda {

// Of the current device.
void* allocate(std::size_t bytes, const char* op);
MemoryStats memory_stats();
void reset_peak_memory();
void release_cached_memory();

void deallocate(void* block, std::size_t bytes, Device device) noexcept;

// The memory of one recorded graph. Blocks that are allocated between open() and close() are the graph's until this is
// destroyed, whether their tensors still live or not: replays write to them. Then they return to the device's cache,
// those of living tensors when the tensors die.
class GraphMemory {
 public:
  explicit GraphMemory(Device device);
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;

  void open();
  void close();

 private:
  struct Blocks;
  friend class DeviceCache;

  Device device_;
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace subquad::cuda
