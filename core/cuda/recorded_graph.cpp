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

// While it lives, memory comes from the graph's pool.
class OpenMemory {
 public:
  explicit OpenMemory(GraphMemory& memory) : memory_(memory) { memory_.open(); }
  ~OpenMemory() { memory_.close(); }
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;

 private:
  GraphMemory& memory_;
};

}  // namespace

RecordedGraph::RecordedGraph(Device device, std::shared_ptr<GraphMemory> memory)
    : device_(device), memory_(std::move(memory)) {}

RecordedGraph::~RecordedGraph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
}

void RecordedGraph::record(const std::function<void()>& work) {
  if (recording()) throw Error("Graph::capture: a graph is being recorded already");
  OwnedGraph graph;
  {
    const OpenMemory open(*memory_);
    Recording recording;
    work();
    graph = recording.end();
  }
  check(cudaGraphGetNodes(graph.get(), nullptr, &size_), "cudaGraphGetNodes");
  check(cudaGraphInstantiate(&executable_, graph.get(), 0), "cudaGraphInstantiate");
}

void RecordedGraph::replay() {
  activate(device_);
  check(cudaGraphLaunch(executable_, current_stream()), "cudaGraphLaunch");
}

}  // namespace subquad::cuda
