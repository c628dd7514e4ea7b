// Graphs: a recording keeps the work that was put into its stream, a launch puts all of it into a stream again.
#include "subquad/tests/simt/host_queue.h"

struct CUgraph_st {
  std::shared_ptr<const simt::Recorded> work;
};
struct CUgraphExec_st {
  std::shared_ptr<const simt::Recorded> work;
};

using simt::failed;
using simt::Queue;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (stream == nullptr) return failed(cudaErrorStreamCaptureUnsupported);  // the default stream records nothing
  Queue& queue = simt::queue_of(stream);
  if (queue.recording != nullptr) return failed(cudaErrorIllegalState);
  queue.recording = std::make_unique<simt::Recorded>();
  queue.mode = mode;
  queue.invalid = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Queue& queue = simt::queue_of(stream);
  *graph = nullptr;
  if (queue.recording == nullptr) return failed(cudaErrorIllegalState);
  const std::shared_ptr<const simt::Recorded> work = std::move(queue.recording);
  if (queue.invalid) return failed(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{work};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Queue& queue = simt::queue_of(stream);
  *status = queue.recording == nullptr ? cudaStreamCaptureStatusNone
            : queue.invalid            ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (nodes != nullptr) return failed(cudaErrorNotSupported);  // they can only be counted
  *count = graph->work->size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  simt::enqueue(
      stream,
      [work = exec->work] {
        for (const simt::Work& each : *work) each.run();
      },
      "graph");
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
