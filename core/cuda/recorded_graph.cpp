#include "subquad/core/cuda/recorded_graph.h"

#include <cuda_runtime.h>

#include <utility>

#include "subquad/core/cuda/error.h"
#include "subquad/core/cuda/runtime.h"

namespace subquad::cuda {
namespace {

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using OwnedGraph = std::unique_ptr<CUgraph_st, DestroyGraph>;

// Puts the current stream into recording mode. end() takes it out again, and so does the destructor, when an exception
// ends the recording.
class Recording {
 public:
  Recording() : stream_(current_stream()) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  }
  ~Recording() {
    if (stream_ == nullptr) return;
    cudaGraph_t unfinished = nullptr;
    cudaStreamEndCapture(stream_, &unfinished);
    if (unfinished != nullptr) cudaGraphDestroy(unfinished);
    cudaGetLastError();  // what the exception is about need not be said twice
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  OwnedGraph end() {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph), "cudaStreamEndCapture");
    return OwnedGraph(graph);
  }

 private:
  cudaStream_t stream_;
};

}  // namespace

RecordedGraph::RecordedGraph(Device device) : device_(device), memory_(device) {}

RecordedGraph::~RecordedGraph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
}

void RecordedGraph::record(const std::function<void()>& work) {
  if (recording()) throw Error("Graph::capture: a graph is being recorded already");
  memory_.open();
  Recording recording;
  work();
  const OwnedGraph graph = recording.end();
  memory_.close();
  check(cudaGraphGetNodes(graph.get(), nullptr, &size_), "cudaGraphGetNodes");
  check(cudaGraphInstantiate(&executable_, graph.get(), 0), "cudaGraphInstantiate");
}

void RecordedGraph::replay() {
  activate(device_);
  check(cudaGraphLaunch(executable_, current_stream()), "cudaGraphLaunch");
}

}  // namespace subquad::cuda
