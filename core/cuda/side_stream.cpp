#include "subquad/core/cuda/side_stream.h"

#include "subquad/core/cuda/runtime.h"
#include "subquad/core/cuda/staging.h"

namespace subquad::cuda {

SideStream::SideStream() = default;

SideStream::~SideStream() {
  try {
    delay_current();
  } catch (const Error&) {  // the device has failed before: nothing will run that could be too early
  }
}

void SideStream::upload(const Tensor& from, Tensor& to) {
  cuda::upload(from.bytes(), to.bytes(), static_cast<std::size_t>(from.size()) * dtype_bytes(from.dtype()),
               stream_.get());
}

void SideStream::mark_arrival() {
  arrived_.record(stream_.get());
}

void SideStream::delay_current() {
  arrived_.delay(current_stream());
}

void SideStream::wait_for_current() {
  launched_.record(current_stream());
  launched_.delay(stream_.get());
}

}  // namespace subquad::cuda
