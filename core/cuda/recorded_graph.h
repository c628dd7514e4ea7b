// The CUDA side of core/graph.h.
#pragma once

#include <functional>
#include <memory>

#include "subquad/core/cuda/allocator.h"

struct CUgraphExec_st;

namespace subquad::cuda {

class RecordedGraph {
 public:
  RecordedGraph(Device device, std::shared_ptr<GraphMemory> memory);
  ~RecordedGraph();
  RecordedGraph(const RecordedGraph&) = delete;
  RecordedGraph& operator=(const RecordedGraph&) = delete;

  void record(const std::function<void()>& work);
  void replay();
  std::size_t size() const { return size_; }
  const std::shared_ptr<GraphMemory>& memory() const { return memory_; }

 private:
  Device device_;
  std::shared_ptr<GraphMemory> memory_;  // of this graph, or of several
  CUgraphExec_st* executable_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace subquad::cuda
