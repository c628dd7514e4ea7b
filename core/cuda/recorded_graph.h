// The CUDA side of core/graph.h.
#pragma once

#include <functional>
#include <memory>

#include "subquad/core/cuda/allocator.h"

struct CUgraphExec_st;

namespace subquad::cuda {

class RecordedGraph {
 public:
  explicit RecordedGraph(Device device);
  ~RecordedGraph();
  RecordedGraph(const RecordedGraph&) = delete;
  RecordedGraph& operator=(const RecordedGraph&) = delete;

  void record(const std::function<void()>& work);
  void replay();
  std::size_t size() const { return size_; }

 private:
  Device device_;
  GraphMemory memory_;
  CUgraphExec_st* executable_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace subquad::cuda
