// Bytes between the CPU and the current CUDA device, through page-locked memory. None of this can be recorded in a
// graph: an Error says so.
#pragma once

#include <cstddef>

struct CUstream_st;

namespace subquad::cuda {

// Returns before the bytes have arrived: what is put into `stream` (the current one) later sees them, and `from` may
// change at once.
void upload(const void* from, void* to, std::size_t bytes);
void upload(const void* from, void* to, std::size_t bytes, CUstream_st* stream);

// Waits for the current stream and for the bytes, then throws what kernels complained of (report.h).
void download(const void* from, void* to, std::size_t bytes);

// Page-locked memory that the device reads and writes by itself. Freed blocks are kept and handed out again: whoever
// frees one has waited for the device to be done with it.
void* allocate_pinned(std::size_t bytes);
void free_pinned(void* block) noexcept;

}  // namespace subquad::cuda
