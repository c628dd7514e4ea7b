#include "subquad/kernels/matmul/to_bfloat16.h"

#include <utility>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/matmul/batched.h"
#include "subquad/kernels/warp/pack.cuh"
#include "subquad/kernels/warp/ptx.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWide = 8;  // elements per thread: 32 bytes read, 16 written

// Element (or first element of a pack) number `flat` of x, counted in row-major order.
__device__ const float* element(const View<const float, 4>& x, Index flat) {
  const Index column = flat % x.dim(3);
  flat /= x.dim(3);
  const Index row = flat % x.dim(2);
  flat /= x.dim(2);
  return &x(flat / x.dim(1), flat % x.dim(1), row, column);
}

// One thread per eight neighbours of a row: a warp reads 1 KiB and writes 512 bytes without gaps.
__global__ void bfloat16_packs(View<const float, 4> x, BFloat16* out, Index packs) {
  const Index pack = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (pack >= packs) return;
  const float* const from = element(x, pack * kWide);
  const auto low = load_pack<4>(from), high = load_pack<4>(from + 4);
  const Pack<std::uint32_t, 4> words = {to_bf16x2(low.at[0], low.at[1]), to_bf16x2(low.at[2], low.at[3]),
                                        to_bf16x2(high.at[0], high.at[1]), to_bf16x2(high.at[2], high.at[3])};
  store_pack(reinterpret_cast<std::uint32_t*>(out) + pack * 4, words);
}

// One thread per element, for rows that packs do not divide.
__global__ void bfloat16_elements(View<const float, 4> x, BFloat16* out, Index size) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < size) out[i] = BFloat16(*element(x, i));
}

bool has_packs(const View<const float, 4>& x) {
  bool fits = x.dim(3) % kWide == 0 && x.stride(3) == 1;
  for (int d = 0; d < 3; ++d) fits = fits && (x.dim(d) == 1 || can_pack<4>(x.data(), x.stride(d)));
  return fits && can_pack<4>(x.data(), 0);
}

// Row-major in, contiguous out.
Tensor converted(const Tensor& x) {
  Tensor out = empty(x.shape(), kBFloat16, x.device());
  if (x.size() == 0) return out;
  Tensor from = x.is_contiguous() ? x.reshape({x.size()}) : x.rank() > 4 ? x.contiguous().reshape({x.size()}) : x;
  while (from.rank() < 4) from = from.unsqueeze(0);
  const auto view = std::as_const(from).view<const float, 4>();
  if (has_packs(view)) {
    const Index packs = x.size() / kWide;
    launch(bfloat16_packs, dim3(blocks_for("to_bfloat16", packs, kThreads)), dim3(kThreads), 0, current_stream(), view,
           out.data<BFloat16>(), packs);
  } else {
    launch(bfloat16_elements, dim3(blocks_for("to_bfloat16", x.size(), kThreads)), dim3(kThreads), 0, current_stream(),
           view, out.data<BFloat16>(), x.size());
  }
  return out;
}

}  // namespace

Tensor to_bfloat16(const Tensor& x) {
  Tensor once = x;
  for (int d = 0; d + 2 < x.rank(); ++d)
    if (x.strides()[d] == 0 && x.dim(d) > 1) once = once.slice(d, 0, 1);
  return is_row_major(once) ? converted(once) : converted(once.transpose(-2, -1)).transpose(-2, -1);
}

}  // namespace subquad::kernels::cuda
