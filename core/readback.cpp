#include "subquad/core/readback.h"

#include "subquad/core/cuda/event.h"
#include "subquad/core/cuda/report.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/cuda/staging.h"

namespace subquad {

Readback::Readback(const Tensor& source) : device_(source.device()) {
  on_device(
      device_, [&](auto) { host_ = source.clone(); },
      [&](auto) {
        const Tensor packed = source.contiguous();
        const std::size_t bytes = static_cast<std::size_t>(packed.size()) * dtype_bytes(packed.dtype());
        cuda::Download download = cuda::start_download(packed.bytes(), bytes);
        arrived_ = download.arrived;
        host_ = Tensor(std::make_shared<Storage>(std::move(download.memory), bytes), packed.dtype(), packed.shape(),
                       row_major_strides(packed.shape()), 0);
      });
}

bool Readback::ready() const {
  return on_device(
      device_, [](auto) { return true; }, [&](auto) { return arrived_->happened(); });
}

const Tensor& Readback::value() const {
  on_device(
      device_, [](auto) {},
      [&](auto) {
        arrived_->wait();
        if (cuda::has_complaint() && !cuda::recording()) cuda::wait("Readback");  // throws it once nothing runs
      });
  return host_;
}

}  // namespace subquad
