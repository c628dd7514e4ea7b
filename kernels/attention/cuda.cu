#include "subquad/kernels/attention/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_plain.cuh"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/attention/cuda_tensor_core.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 128, kRowsPerBlock = kThreads / kWarp;

// One warp per query, lanes along the features: delta = sum_c dout out - dlse; 0 for a query that sees no key, of which
// nothing is read.
template <class T>
__global__ void attention_delta_rows(View<const T, 4> dout, View<const T, 4> out, View<const T, 3> lse,
                                     View<const T, 3> dlse, Sight sight, View<T, 3> delta) {
  const Index row = Index{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp, queries = out.dim(2), heads = out.dim(1);
  if (row >= out.dim(0) * heads * queries) return;
  const Index b = row / queries / heads, h = row / queries % heads, i = row % queries;
  T sum = 0;
  if (sight.sample(b).query_counts(static_cast<int>(i)) && lse(b, h, i) != -INFINITY) {
    for (Index c = threadIdx.x % kWarp; c < out.dim(3); c += kWarp) sum += dout(b, h, i, c) * out(b, h, i, c);
    sum = warp_sum(sum);
    if (dlse.data() != nullptr) sum -= dlse(b, h, i);
  }
  if (threadIdx.x % kWarp == 0) delta(b, h, i) = sum;
}

Tensor attention_delta(const Tensor& dout, const Tensor& dlse, const AttentionOutput& forward, const Sight& sight) {
  Tensor delta = empty(forward.lse.shape(), forward.lse.dtype(), forward.lse.device());
  if (delta.size() == 0) return delta;
  visit_float("attention_grad", delta.dtype(), [&]<class T>(Type<T>) {
    const View<const T, 3> no_dlse(nullptr, {0, 0, 0}, {0, 0, 0});
    launch(attention_delta_rows<T>, dim3(blocks_for("attention_grad", delta.size(), kRowsPerBlock)), dim3(kThreads), 0,
           current_stream(), dout.view<const T, 4>(), forward.out.view<const T, 4>(), forward.lse.view<const T, 3>(),
           dlse.defined() ? dlse.view<const T, 3>() : no_dlse, sight, delta.view<T, 3>());
  });
  return delta;
}

bool fits_tensor_cores(const Tensor& q, const Tensor& v) {
  return q.dtype() == kFloat32 && std::max(q.dim(3), v.dim(3)) <= kMaxTensorCoreWidth;
}

}  // namespace

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               AttentionOutput& result) {
  if (result.lse.size() == 0) return;
  if (fits_tensor_cores(q, v))
    attention_tensor_core(q, k, v, keys, options, result);
  else
    attention_plain(q, k, v, keys, options, result);
}

void attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                    const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options,
                    AttentionGrads& grads) {
  if (q.dim(0) * q.dim(1) == 0) return;
  if (fits_tensor_cores(q, v)) return attention_grad_tensor_core(dout, dlse, q, k, v, forward, keys, options, grads);
  const Tensor delta = attention_delta(dout, dlse, forward, Sight(q, k, keys, options));
  attention_grad_plain(dout, delta, q, k, v, forward, keys, options, grads);
}

}  // namespace subquad::kernels::cuda
