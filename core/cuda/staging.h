// Bytes between the CPU and the current CUDA device. What nobody waits for goes through page-locked memory. None of
// this can be recorded in a graph: an Error says so.
#pragma once

#include <cstddef>
#include <memory>

#include "subquad/core/cuda/event.h"

namespace subquad::cuda {

// Returns before the bytes have arrived: what is put into `stream` (the current one) later sees them, and `from` may
// change at once.
void upload(const void* from, void* to, std::size_t bytes);
void upload(const void* from, void* to, std::size_t bytes, CUstream_st* stream);

// Straight into `to`. Waits for the current stream and for the bytes, then throws what kernels complained of
// (report.h).
void download(const void* from, void* to, std::size_t bytes);

// Does not wait: the bytes are in `memory`, which is page-locked, once `arrived` has happened. Whoever lets go of the
// memory before waits for that.
struct Download {
  std::shared_ptr<std::byte> memory;
  std::shared_ptr<Event> arrived;
};
Download start_download(const void* from, std::size_t bytes);

}  // namespace subquad::cuda
