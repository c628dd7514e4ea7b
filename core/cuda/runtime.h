// The CUDA runtime as the rest of subquad sees it: devices, the current stream, waiting. No CUDA header is needed to
// include this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "subquad/core/device.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace subquad::cuda {

struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t shared_bytes_per_block = 0;  // the most that a kernel may ask for
  std::size_t l2_bytes = 0;
};

int device_count();  // as cuda_device_count in core/device.h
bool has_driver();   // false where only the toolkit is installed
const DeviceProperties& properties(int ordinal);
int current_device();

// The stream that kernels of the current device are launched in: one per device, never the legacy default stream.
CUstream_st* current_stream();

bool recording();  // does the current stream record a Graph now?

// Waits for the current stream, then throws what kernels complained of (report.h). synchronize() of core/device.h.
void wait(const char* who);
void note_wait();                              // counts it: whatever makes the host wait for a device calls this
std::uint64_t waits();                         // so far, in this process
void refuse_while_recording(const char* who);  // Error: `who` wants to wait, and nothing runs

}  // namespace subquad::cuda
