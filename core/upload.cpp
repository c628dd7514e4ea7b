#include "subquad/core/upload.h"

#include "subquad/core/check.h"
#include "subquad/core/cuda/side_stream.h"

namespace subquad {
namespace {

// Tensors that `batch` can be copied into: those there are, where they fit.
bool fits(const std::vector<Tensor>& landing, const std::vector<Tensor>& batch) {
  bool same = landing.size() == batch.size();
  for (std::size_t i = 0; same && i < batch.size(); ++i)
    same = landing[i].shape() == batch[i].shape() && landing[i].dtype() == batch[i].dtype();
  return same;
}

}  // namespace

Upload::Upload(Device device) : device_(device) {
  on_device(
      device_, [](auto) {}, [&](auto) { side_ = std::make_shared<cuda::SideStream>(); }, nullptr);
}

void Upload::start(const std::vector<Tensor>& batch) {
  if (started_) throw Error("Upload::start: the batch before has not been taken by finish()");
  for (const Tensor& t : batch)
    if (!t.device().is_cpu()) throw DeviceError(cat("Upload::start: batch holds ", describe(t), ", expected on cpu"));
  const bool reuse = fits(landing_, batch);
  if (!reuse) {
    landing_.clear();
    for (const Tensor& t : batch) landing_.push_back(empty(t.shape(), t.dtype(), device_));
  }
  on_device(
      device_,
      [&](auto) {
        for (std::size_t i = 0; i < batch.size(); ++i) copy(batch[i], landing_[i]);
      },
      [&](auto) {
        if (!reuse) side_->wait_for_current();
        for (std::size_t i = 0; i < batch.size(); ++i) side_->upload(batch[i].contiguous(), landing_[i]);
        side_->mark_arrival();
      },
      "upload");
  started_ = true;
}

void Upload::finish(std::vector<Tensor>& fixed) {
  if (!started_) throw Error("Upload::finish: no batch was started");
  if (fixed.size() != landing_.size())
    throw Error(cat("Upload::finish: ", fixed.size(), " tensors for a batch of ", landing_.size()));
  on_device(
      device_, [](auto) {}, [&](auto) { side_->delay_current(); }, nullptr);
  for (std::size_t i = 0; i < fixed.size(); ++i) copy(landing_[i], fixed[i]);
  on_device(
      device_, [](auto) {}, [&](auto) { side_->wait_for_current(); }, nullptr);
  started_ = false;
}

}  // namespace subquad
