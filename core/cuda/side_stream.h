// The CUDA side of core/upload.h: a stream for copies beside the current one, and the events between the two.
#pragma once

#include "subquad/core/cuda/event.h"
#include "subquad/core/tensor.h"

namespace subquad::cuda {

class SideStream {
 public:
  SideStream();   // of the current device
  ~SideStream();  // the current stream waits for the uploads: memory they write to may go back to the cache now

  void upload(const Tensor& from, Tensor& to);  // contiguous both, on the CPU and on the current device
  void mark_arrival();                          // of all uploads so far
  void delay_current();                         // what is launched from now on waits for the mark
  void wait_for_current();                      // uploads from now on wait for what has been launched

 private:
  Stream stream_;
  Event arrived_, launched_;
};

}  // namespace subquad::cuda
