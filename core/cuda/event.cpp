#include "subquad/core/cuda/event.h"

#include <cuda_runtime.h>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/runtime.h"

namespace subquad::cuda {

Event::Event(bool timed) {
  check(cudaEventCreateWithFlags(&event_, timed ? cudaEventDefault : cudaEventDisableTiming),
        "cudaEventCreateWithFlags");
}

Event::~Event() {
  cudaEventDestroy(event_);
}

void Event::record(CUstream_st* stream) {
  check(cudaEventRecord(event_, stream), "cudaEventRecord");
  seen_ = false;
}

bool Event::happened() const {
  if (seen_) return true;
  const cudaError_t status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // an answer, not an error
    return false;
  }
  check(status, "cudaEventQuery");
  return seen_ = true;
}

void Event::wait() const {
  if (seen_) return;
  note_wait();
  check(cudaEventSynchronize(event_), "cudaEventSynchronize");
  seen_ = true;
}

void Event::delay(CUstream_st* stream) const {
  check(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
}

double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "cudaEventElapsedTime");
  return 1e-3 * static_cast<double>(milliseconds);
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

Stream::~Stream() {
  cudaStreamDestroy(stream_);
}

}  // namespace subquad::cuda
