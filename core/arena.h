// One allocation that holds many tensors of one dtype, each starting on a 64-byte boundary. Parameters, gradients and
// optimiser moments lie in arenas of the same layout, so that an optimiser step is one loop over flat memory.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad {

class Arena {
 public:
  Arena() = default;
  Arena(const std::vector<Shape>& shapes, DType dtype, Device device);  // all elements 0, the gaps between tensors too

  std::size_t count() const { return parts_.size(); }
  const Tensor& part(std::size_t i) const { return parts_[i]; }  // a view of flat() with shapes[i]
  Tensor flat() const { return flat_; }                          // [total], gaps included
  Arena zeros_like() const;                                      // the same layout in new memory

 private:
  std::vector<Shape> shapes_;
  std::vector<Tensor> parts_;
  Tensor flat_;
};

}  // namespace subquad
