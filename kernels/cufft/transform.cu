#include "subquad/kernels/cufft/transform.h"

#include <cufft.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <list>
#include <mutex>

#include "subquad/core/allocator.h"
#include "subquad/core/cuda/range.h"
#include "subquad/core/cuda/runtime.h"
#include "subquad/core/error.h"

namespace subquad::kernels::cuda {

using subquad::cuda::current_device;
using subquad::cuda::current_op;
using subquad::cuda::current_stream;
using subquad::cuda::recording;

namespace {

std::string prefix() {
  const std::string op = current_op();
  return op.empty() ? "" : op + ": ";
}

const char* name_of(cufftResult status) {
  switch (status) {
    case CUFFT_INVALID_PLAN: return "CUFFT_INVALID_PLAN";
    case CUFFT_ALLOC_FAILED: return "CUFFT_ALLOC_FAILED";
    case CUFFT_INVALID_TYPE: return "CUFFT_INVALID_TYPE";
    case CUFFT_INVALID_VALUE: return "CUFFT_INVALID_VALUE";
    case CUFFT_INTERNAL_ERROR: return "CUFFT_INTERNAL_ERROR";
    case CUFFT_EXEC_FAILED: return "CUFFT_EXEC_FAILED";
    case CUFFT_SETUP_FAILED: return "CUFFT_SETUP_FAILED";
    case CUFFT_INVALID_SIZE: return "CUFFT_INVALID_SIZE";
    case CUFFT_UNALIGNED_DATA: return "CUFFT_UNALIGNED_DATA";
    case CUFFT_INVALID_DEVICE: return "CUFFT_INVALID_DEVICE";
    case CUFFT_NO_WORKSPACE: return "CUFFT_NO_WORKSPACE";
    case CUFFT_NOT_SUPPORTED: return "CUFFT_NOT_SUPPORTED";
    default: return "a status";
  }
}

void check(cufftResult status, const char* call) {
  if (status == CUFFT_SUCCESS) return;
  throw DeviceError(cat(prefix(), call, ": ", name_of(status), " (", static_cast<int>(status), ")"));
}

// One batch of lines: what a plan is made for.
struct Batch {
  cufftType type;
  Index n, count, stride, in_apart, out_apart;

  bool operator==(const Batch&) const = default;
};

Batch batch_of(LineTransformKind kind, const CufftLines& lines) {
  const bool wide = lines.dtype == kFloat64, along = lines.inner == 1;
  const Index bins = lines.n / 2 + 1;
  const auto batch = [&](cufftType type, Index in, Index out) {
    return along ? Batch{type, lines.n, lines.outer, 1, in, out} : Batch{type, lines.n, lines.inner, lines.inner, 1, 1};
  };
  if (kind == LineTransformKind::real) return batch(wide ? CUFFT_D2Z : CUFFT_R2C, lines.n, bins);
  if (kind == LineTransformKind::real_from_half) return batch(wide ? CUFFT_Z2D : CUFFT_C2R, bins, lines.n);
  return batch(wide ? CUFFT_Z2Z : CUFFT_C2C, lines.n, lines.n);
}

struct Plan {
  Batch batch;
  cufftHandle handle = -1;
  std::size_t work_bytes = 0;
  bool recorded = false;  // a graph uses it
};

// cuFFT for one device. Nothing is released when the process ends: by then the CUDA runtime may be gone.
class Library {
 public:
  // The plan, working in the current stream and the shared work area.
  cufftHandle bound(const Batch& batch, int device) {
    Plan& plan = find(batch, device);
    if (recording()) plan.recorded = area_recorded_ = true;
    check(cufftSetStream(plan.handle, current_stream()), "cufftSetStream");
    if (area_ != nullptr) check(cufftSetWorkArea(plan.handle, area_), "cufftSetWorkArea");
    return plan.handle;
  }

 private:
  Plan& find(const Batch& batch, int device) {
    const auto known = std::find_if(plans_.begin(), plans_.end(), [&](const Plan& p) { return p.batch == batch; });
    if (known != plans_.end()) {
      plans_.splice(plans_.begin(), plans_, known);
      return plans_.front();
    }
    if (recording())
      throw Error(cat(prefix(), "the first transform of ", batch.count, " lines of ", batch.n,
                      " numbers falls into a recording, expected one before it: making its plan asks for memory"));
    forget_oldest();
    plans_.push_front(make(batch));
    reserve(plans_.front().work_bytes, device);
    return plans_.front();
  }

  static Plan make(const Batch& batch) {
    Plan plan = {.batch = batch};
    check(cufftCreate(&plan.handle), "cufftCreate");
    const auto built = [&] {
      const cufftResult status = cufftSetAutoAllocation(plan.handle, 0);
      if (status != CUFFT_SUCCESS) return status;
      long long n = batch.n;  // where lines lie is said by stride and apart; the extents of a line say that it is so
      return cufftMakePlanMany64(plan.handle, 1, &n, &n, batch.stride, batch.in_apart, &n, batch.stride,
                                 batch.out_apart, batch.type, batch.count, &plan.work_bytes);
    }();
    if (built != CUFFT_SUCCESS) cufftDestroy(plan.handle);
    check(built, "cufftMakePlanMany64");
    return plan;
  }

  void forget_oldest() {
    if (plans_.size() < kCufftPlans) return;
    for (auto plan = plans_.end(); plan-- != plans_.begin();) {
      if (plan->recorded) continue;
      const cufftHandle handle = plan->handle;
      plans_.erase(plan);
      check(cufftDestroy(handle), "cufftDestroy");
      return;
    }
  }

  void reserve(std::size_t bytes, int device) {
    if (bytes <= area_bytes_) return;
    const Device here = {DeviceType::cuda, device};
    void* const larger = allocate(bytes, here, "cufft");
    if (area_ != nullptr && !area_recorded_) deallocate(area_, area_bytes_, here);  // reused in the stream's order
    area_ = larger;
    area_bytes_ = bytes;
    area_recorded_ = false;
  }

  std::list<Plan> plans_;  // the one used last in front
  void* area_ = nullptr;
  std::size_t area_bytes_ = 0;
  bool area_recorded_ = false;
};

constexpr std::size_t kMostDevices = 64;
std::mutex mutex;  // held from binding a plan to the end of the calls with it
std::array<Library, kMostDevices> libraries;

cufftResult run(cufftHandle plan, cufftType type, int direction, void* in, void* out) {
  switch (type) {
    case CUFFT_R2C: return cufftExecR2C(plan, static_cast<cufftReal*>(in), static_cast<cufftComplex*>(out));
    case CUFFT_C2R: return cufftExecC2R(plan, static_cast<cufftComplex*>(in), static_cast<cufftReal*>(out));
    case CUFFT_D2Z: return cufftExecD2Z(plan, static_cast<cufftDoubleReal*>(in), static_cast<cufftDoubleComplex*>(out));
    case CUFFT_Z2D: return cufftExecZ2D(plan, static_cast<cufftDoubleComplex*>(in), static_cast<cufftDoubleReal*>(out));
    case CUFFT_Z2Z:
      return cufftExecZ2Z(plan, static_cast<cufftDoubleComplex*>(in), static_cast<cufftDoubleComplex*>(out), direction);
    default: return cufftExecC2C(plan, static_cast<cufftComplex*>(in), static_cast<cufftComplex*>(out), direction);
  }
}

}  // namespace

void cufft(LineTransformKind kind, const CufftLines& lines, const void* in, void* out) {
  const std::lock_guard lock(mutex);
  const int device = current_device();
  const Batch batch = batch_of(kind, lines);
  const cufftHandle plan = libraries.at(static_cast<std::size_t>(device)).bound(batch, device);
  // Bytes from one call's lines to the next one's.
  const auto bytes = [&](bool real, bool half) {
    const Index number = (lines.dtype == kFloat64 ? 8 : 4) * (real ? 1 : 2);
    return static_cast<std::size_t>(number * lines.inner * (half ? lines.n / 2 + 1 : lines.n));
  };
  const bool from_real = kind == LineTransformKind::real, to_real = kind == LineTransformKind::real_from_half;
  const std::size_t in_step = bytes(from_real, to_real), out_step = bytes(to_real, from_real);
  const int direction = kind == LineTransformKind::backward ? CUFFT_INVERSE : CUFFT_FORWARD;
  auto* from = static_cast<std::byte*>(const_cast<void*>(in));  // cuFFT's word: only real_from_half writes there
  auto* to = static_cast<std::byte*>(out);
  for (Index o = 0; o < (lines.inner == 1 ? 1 : lines.outer); ++o)
    check(run(plan, batch.type, direction, from + o * in_step, to + o * out_step), "cufftExec");
}

}  // namespace subquad::kernels::cuda
