// Batches on their way to a device while it computes: they travel on a stream of their own, and events order that
// stream and the current one. A step that is a Graph reads fixed tensors; finish() fills them.
//
//   Upload upload(device);
//   upload.start(first_batch);
//   for (...) {
//     upload.finish(fixed);      // in the current stream, as soon as the batch has arrived
//     upload.start(next_batch);  // travels while the step runs
//     graph.replay();            // reads `fixed`
//   }
#pragma once

#include <memory>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad {

namespace cuda {
class SideStream;
}

class Upload {
 public:
  explicit Upload(Device device);

  // CPU tensors, which may change as soon as this returns. Does not wait. Every start() is followed by a finish().
  void start(const std::vector<Tensor>& batch);

  // fixed[i] takes the values of batch[i], of the same shape. Does not wait.
  void finish(std::vector<Tensor>& fixed);

 private:
  Device device_;
  std::vector<Tensor> landing_;  // the batch, on device_
  bool started_ = false;
  std::shared_ptr<cuda::SideStream> side_;
};

}  // namespace subquad
