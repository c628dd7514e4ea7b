#include "subquad/kernels/reduce/cuda.h"
#include "subquad/kernels/reduce/tiling.cuh"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {
namespace {

template <class T, int W>
struct AddPacks {
  __device__ Pack<T, W> operator()(Pack<T, W> a, const Pack<T, W>& b) const {
    for (int j = 0; j < W; ++j) a.at[j] += b.at[j];
    return a;
  }
};

// Elements ((0 + 2) + (1 + 3)) of a pack.
template <class T, int W>
__device__ T sum_within(Pack<T, W> pack) {
  for (int half = W / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) pack.at[j] += pack.at[j + half];
  return pack.at[0];
}

// Every chunk of rows becomes one row: [A, R, K] -> [A, chunks, K], laid out as tiling.cuh says, with W neighbouring
// elements (16 bytes) in the place of each column. When `fold`, K is one pack and its elements are added up, too.
template <class T, int W>
__global__ void sum_tiles(const T* x, Tiling tiling, bool fold, T* out) {
  Pack<T, W>* const scratch = SharedMemory().take<Pack<T, W>>(static_cast<int>(blockDim.x));
  const Tiling::Part part = tiling.part(blockIdx.x, static_cast<int>(threadIdx.x));
  constexpr AddPacks<T, W> add;
  Pack<T, W> sum = {};
  if (part.inside) {
    const T* const column = x + (part.slab * tiling.rows * tiling.width + part.column) * W;
#pragma unroll 4
    for (Index row = part.first; row < part.end; row += tiling.lanes)
      sum = add(sum, load_pack<W>(column + row * tiling.width * W));
  }
  sum = combine_lanes(tiling, part.lane, sum, scratch, add);
  if (!part.inside || part.lane > 0) return;
  const Index place = (part.slab * tiling.chunks + part.chunk) * tiling.width + part.column;
  if (fold)
    out[place] = sum_within(sum);
  else
    store_pack(out + place * W, sum);
}

// One step: x [A, R, K] -> [A, chunks, K], which is `out` [A, K] when one chunk is left.
template <class T, int W>
Tensor sum_step(const Tensor& x, const Tiling& tiling, bool fold, Tensor& out) {
  const Shape shape = x.shape().with(1, tiling.chunks);
  Tensor sums = tiling.chunks == 1 ? out.reshape(shape) : empty(shape, x.dtype(), x.device());
  const auto threads = static_cast<unsigned>(tiling.threads());
  launch(sum_tiles<T, W>, dim3(tiling.blocks("sum")), dim3(threads), shared_size<Pack<T, W>>(threads), current_stream(),
         x.data<T>(), tiling, fold, sums.data<T>());
  return sums;
}

template <class T>
Tensor sum_step(const Tensor& x, Tensor& out) {
  constexpr int kWidth = kPackWidth<T>;
  const Index slabs = x.dim(0), rows = x.dim(1), width = x.dim(2);
  const T* const from = x.data<T>();
  if (width == 1 && can_pack<kWidth>(from, rows))
    return sum_step<T, kWidth>(x, Tiling(slabs, rows / kWidth, 1), true, out);
  if (can_pack<kWidth>(from, width) && can_pack<kWidth>(out.data<T>(), width))
    return sum_step<T, kWidth>(x, Tiling(slabs, rows, width / kWidth), false, out);
  return sum_step<T, 1>(x, Tiling(slabs, rows, width), false, out);
}

}  // namespace

void sum(const Tensor& x, Tensor& out) {
  if (out.size() == 0) return;
  if (x.dim(1) == 0) return fill(out, 0);
  visit_float("sum", x.dtype(), [&]<class T>(Type<T>) {
    Tensor rest = sum_step<T>(x, out);
    while (!rest.shares_storage_with(out)) rest = sum_step<T>(rest, out);
  });
}

}  // namespace subquad::kernels::cuda
