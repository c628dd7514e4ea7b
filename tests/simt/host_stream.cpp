// Streams and events.
#include <simt/machine.h>

#include <algorithm>

#include "subquad/tests/simt/host_queue.h"

namespace simt {
namespace {

std::size_t waits = 0;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

std::vector<std::shared_ptr<Queue>>& queues() {
  static std::vector<std::shared_ptr<Queue>> all = {std::make_shared<Queue>()};  // the first is the default stream's
  return all;
}

const std::shared_ptr<Queue>& shared_queue(cudaStream_t stream) {
  return stream == nullptr ? queues().front() : stream->queue;
}

}  // namespace

Queue& queue_of(cudaStream_t stream) {
  return *shared_queue(stream);
}

void enqueue(cudaStream_t stream, std::function<void()> work, const char* what) {
  Queue& queue = queue_of(stream);
  if (queue.recording != nullptr) {
    queue.recording->push_back({std::move(work), what});
  } else {
    queue.waiting.push_back({std::move(work), what});
    ++queue.put;
  }
}

void run_until(Queue& queue, std::uint64_t done) {
  if (queue.done >= done) return;
  const DeviceMemoryOpen open;
  while (queue.done < done) {
    const Work work = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    ++queue.done;  // also when it throws: a fault that the interpreter finds reaches whoever waits, once
    work.run();
  }
}

void run_all() {
  for (std::size_t i = 0; i < queues().size(); ++i) run_until(*queues()[i], queues()[i]->put);
}

void count_synchronisation() {
  ++waits;
}

std::size_t synchronisations() {
  return waits;
}

cudaError_t refuse_while_capturing() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  for (const auto& queue : queues()) {
    if (queue->recording == nullptr || queue->mode == cudaStreamCaptureModeRelaxed) continue;
    queue->invalid = true;
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

}  // namespace simt

using simt::failed;
using simt::Queue;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st{std::make_shared<Queue>()};
  simt::queues().push_back((*stream)->queue);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return failed(cudaErrorInvalidValue);
  simt::run_until(*stream->queue, stream->queue->put);  // a GPU finishes the work, too, only later
  auto& all = simt::queues();
  all.erase(std::find(all.begin(), all.end(), stream->queue));
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Queue& queue = simt::queue_of(stream);
  if (queue.recording != nullptr) {
    queue.invalid = true;
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  simt::count_synchronisation();
  simt::run_until(queue, queue.put);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  simt::count_synchronisation();
  simt::run_all();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (simt::queue_of(stream).recording != nullptr) return failed(cudaErrorNotSupported);  // no graph of ours forks
  if (event->queue == nullptr) return cudaSuccess;
  simt::enqueue(
      stream, [queue = event->queue, after = event->after] { simt::run_until(*queue, after); }, "wait for an event");
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->queue = simt::shared_queue(stream);
  if (event->queue->recording != nullptr) return failed(cudaErrorNotSupported);
  event->after = event->queue->put;
  return cudaSuccess;
}

// Whoever asks again and again sees the device make progress.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  if (event->queue == nullptr || event->queue->done >= event->after) return cudaSuccess;
  simt::run_until(*event->queue, event->queue->done + 1);
  return failed(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t refused = simt::refuse_while_capturing(); refused != cudaSuccess) return refused;
  simt::count_synchronisation();
  if (event->queue != nullptr) simt::run_until(*event->queue, event->after);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  for (const cudaEvent_t event : {start, stop}) {
    if (event->queue == nullptr) return failed(cudaErrorInvalidValue);
    if (event->queue->done < event->after) return failed(cudaErrorNotReady);
  }
  *milliseconds = 1;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, simt::thread_mode);
  return cudaSuccess;
}
