#include "subquad/kernels/count_correct/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kRowsPerBlock = 4;  // one warp each

// One warp per row: the row is right when no entry before the label reaches the label's, none behind is above it, and
// none is a NaN. Lanes read neighbouring entries. Whole numbers are added, so the order of the blocks does not matter.
template <class T>
__global__ void count_right_rows(View<const T, 2> logits, View<const std::int64_t, 1> labels, std::int32_t* count) {
  const Index b = static_cast<Index>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (b >= logits.dim(0)) return;  // the whole warp
  const Index label = labels(b), classes = logits.dim(1);
  const bool known = label >= 0 && label < classes;
  bool right = known;
  for (Index c = threadIdx.x % kWarp; c < classes; c += kWarp) {
    const T it = logits(b, c), wanted = known ? logits(b, label) : it;
    right = right && (c < label ? it < wanted : it <= wanted);  // false for a NaN
  }
  if (__all_sync(kWholeWarp, right) && threadIdx.x % kWarp == 0) atomicAdd(count, 1);
}

}  // namespace

void count_correct(const Tensor& logits, const Tensor& labels, Tensor& count) {
  if (logits.dim(0) == 0) return;
  visit_float("count_correct", logits.dtype(), [&]<class T>(Type<T>) {
    launch(count_right_rows<T>, dim3(blocks_for("count_correct", logits.dim(0), kRowsPerBlock)),
           dim3(kRowsPerBlock * kWarp), 0, current_stream(), logits.view<const T, 2>(),
           labels.view<const std::int64_t, 1>(), count.data<std::int32_t>());
  });
}

}  // namespace subquad::kernels::cuda
