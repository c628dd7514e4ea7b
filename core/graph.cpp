#include "subquad/core/graph.h"

#include "subquad/core/cuda/recorded_graph.h"
#include "subquad/core/cuda/runtime.h"

namespace subquad {

Graph Graph::capture(Device device, const std::function<void()>& work, const Graph& neighbour) {
  Graph graph;
  on_device(
      device, [](auto) { throw DeviceError("Graph::capture: cpu has no graphs, only a CUDA device has"); },
      [&](auto) {
        if (neighbour.defined() && neighbour.device_ != device)
          throw DeviceError(cat("Graph::capture: neighbour is on ", neighbour.device_, ", expected on ", device));
        const auto memory =
            neighbour.defined() ? neighbour.recorded_->memory() : std::make_shared<cuda::GraphMemory>(device);
        const auto recorded = std::make_shared<cuda::RecordedGraph>(device, memory);
        recorded->record(work);
        graph.size_ = recorded->size();
        graph.recorded_ = recorded;
      },
      nullptr);
  graph.device_ = device;
  return graph;
}

Graph Graph::capture(Device device, const std::function<void()>& work) {
  return capture(device, work, Graph());
}

void Graph::replay() {
  if (!defined()) throw Error("Graph::replay: nothing was captured");
  on_device(
      device_, [](auto) {}, [&](auto) { recorded_->replay(); }, "graph");
}

std::uint64_t device_waits(Device device) {
  std::uint64_t count = 0;
  on_device(
      device, [](auto) {}, [&](auto) { count = cuda::waits(); }, nullptr);
  return count;
}

}  // namespace subquad
