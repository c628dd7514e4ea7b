#include "subquad/core/graph.h"

#include "subquad/core/cuda/recorded_graph.h"

namespace subquad {

Graph Graph::capture(Device device, const std::function<void()>& work) {
  Graph graph;
  on_device(
      device, [](auto) { throw DeviceError("Graph::capture: cpu has no graphs, only a CUDA device has"); },
      [&](auto) {
        const auto recorded = std::make_shared<cuda::RecordedGraph>(device);
        recorded->record(work);
        graph.size_ = recorded->size();
        graph.recorded_ = recorded;
      },
      nullptr);
  graph.device_ = device;
  return graph;
}

void Graph::replay() {
  if (!defined()) throw Error("Graph::replay: nothing was captured");
  on_device(
      device_, [](auto) {}, [&](auto) { recorded_->replay(); }, "graph");
}

}  // namespace subquad
