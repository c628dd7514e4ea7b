// Values on their way back from a device, without stopping it.
//
//   const Readback loss(step());     // queued behind what was launched so far
//   ...                              // more steps are launched
//   loss.value().item<float>();      // has arrived long ago, or is waited for
#pragma once

#include <memory>

#include "subquad/core/tensor.h"

namespace subquad {

namespace cuda {
class Event;
}

class Readback {  // a handle: copies speak of the same values
 public:
  Readback() = default;                     // of nothing: ready() is true, value() undefined
  explicit Readback(const Tensor& source);  // `source` may change afterwards; an Error inside Graph::capture
  bool ready() const;                       // never waits
  const Tensor& value() const;              // on the CPU; waits for it, then throws what kernels complained of

 private:
  Device device_;
  Tensor host_;
  std::shared_ptr<cuda::Event> arrived_;
};

}  // namespace subquad
