// A recorded piece of device work that can be replayed: the kernels, products and copies of a whole training step,
// started by one call.
//
//   step();                                               // once as usual: handles are opened, sizes become known
//   Graph graph = Graph::capture(device, [&] { step(); });
//   for (...) graph.replay();
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "subquad/core/device.h"

namespace subquad {

namespace cuda {
class RecordedGraph;
}

class Graph {  // a handle: copies are the same graph
 public:
  // Runs `work` once in recording mode: what it launches in the current stream of `device` is recorded and not
  // executed. Memory it allocates there comes from a pool that belongs to the graph, so that every address stays what
  // it was; tensors made inside may be kept, beyond the graph too, and hold new values after each replay. Tensors made
  // outside and used inside must live as long as the graph. Waiting for the device inside (item(), to(kCpu),
  // synchronize) and copying from the CPU are Errors; after an exception of `work` the device is as it was before.
  // DeviceError for the CPU, which has no graphs.
  //
  // With a `neighbour` both graphs (and its other neighbours) use one pool, as large as the largest of them needs: for
  // graphs of which one is replayed at a time. What one has computed holds until another one is replayed.
  static Graph capture(Device device, const std::function<void()>& work, const Graph& neighbour);
  static Graph capture(Device device, const std::function<void()>& work);

  bool defined() const { return recorded_ != nullptr; }
  void replay();                              // in the current stream; returns at once
  std::size_t size() const { return size_; }  // recorded operations

 private:
  std::shared_ptr<cuda::RecordedGraph> recorded_;
  Device device_;
  std::size_t size_ = 0;
};

// How often this process has made the host wait for a device so far: synchronize(), item(), copies to the CPU, an event
// that had not happened yet. A training step adds none. 0 for the CPU.
std::uint64_t device_waits(Device device);

}  // namespace subquad
