// Streams from the inside. A stream is a queue of work that nobody has asked for yet: it runs, in order, when something
// waits for it. So a wait that is missing in the code under test shows as values that have not arrived.
#pragma once

#include <simt/host.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace simt {

struct Work {
  std::function<void()> run;
  const char* what;
};
using Recorded = std::vector<Work>;

struct Queue {
  std::deque<Work> waiting;
  std::uint64_t put = 0, done = 0;  // how many pieces of work were put in so far, and how many are done

  std::unique_ptr<Recorded> recording;  // what a capture has seen, null when there is none
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  bool invalid = false;  // something forbidden was called during the capture
};

Queue& queue_of(cudaStream_t stream);  // nullptr is the default stream's

void run_until(Queue& queue, std::uint64_t done);
void run_all();  // of every stream
void count_synchronisation();

// Calls that CUDA refuses while a graph is recorded: cudaErrorStreamCaptureUnsupported, and the recording is lost. In
// relaxed mode they are allowed.
cudaError_t refuse_while_capturing();

// Remembers an error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error);

// While one lives, the CPU can read and write device memory: work runs.
class DeviceMemoryOpen {
 public:
  DeviceMemoryOpen();
  ~DeviceMemoryOpen();
};

}  // namespace simt

struct CUstream_st {
  std::shared_ptr<simt::Queue> queue;
};

// Has happened when `queue` has done that many pieces of work.
struct CUevent_st {
  std::shared_ptr<simt::Queue> queue;
  std::uint64_t after = 0;
};
