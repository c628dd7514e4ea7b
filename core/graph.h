// A recorded piece of device work that can be replayed: the kernels, products and copies of a whole training step,
// started by one call.
#pragma once

#include <functional>
#include <memory>

#include "subquad/core/device.h"

namespace subquad {

class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  // Runs `work` once in recording mode: what it launches in the current stream of `device` is recorded and not
  // executed. Memory it allocates there comes from a pool that belongs to the graph, so that every address stays what
  // it was; tensors made inside may be kept and hold new values after each replay. Waiting for the device inside
  // (item(), to(kCpu)) and asking the driver for anything are Errors. DeviceError for the CPU, which has no graphs.
  static Graph capture(Device device, const std::function<void()>& work);

  bool defined() const { return implementation_ != nullptr; }
  void replay();             // in the current stream; returns at once
  std::size_t size() const;  // recorded operations

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace subquad
