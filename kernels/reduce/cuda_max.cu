#include "subquad/core/cuda/complain.cuh"
#include "subquad/kernels/reduce/cuda.h"
#include "subquad/kernels/reduce/tiling.cuh"

namespace subquad::kernels::cuda {
namespace {

template <class T>
struct Best {
  T value;
  Index row;  // -1: nothing seen yet
};

// The larger value wins, a NaN over any number, and of equals the one in front.
template <class T>
struct Better {
  __device__ Best<T> operator()(const Best<T>& a, const Best<T>& b) const {
    if (a.row < 0 || b.row < 0) return a.row < 0 ? b : a;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan ? a : b;
    if (!a_nan && a.value != b.value) return a.value > b.value ? a : b;
    return a.row < b.row ? a : b;
  }
};

// Every chunk of rows becomes one row: [A, R, K] -> [A, chunks, K], laid out as tiling.cuh says. `origins` [A, R, K]
// says from which row each element came when x holds winners of chunks already; else it is null.
template <class T>
__global__ void max_tiles(const T* x, const Index* origins, Tiling tiling, T* values, Index* indices) {
  Best<T>* const scratch = SharedMemory().take<Best<T>>(static_cast<int>(blockDim.x));
  const Tiling::Part part = tiling.part(blockIdx.x, static_cast<int>(threadIdx.x));
  constexpr Better<T> better;
  Best<T> best = {T(0), -1};
  if (part.inside) {
    const Index column = part.slab * tiling.rows * tiling.width + part.column;
#pragma unroll 4
    for (Index row = part.first; row < part.end; row += tiling.lanes) {
      const Index place = column + row * tiling.width;
      best = better(best, {x[place], origins == nullptr ? row : origins[place]});
    }
  }
  best = combine_lanes(tiling, part.lane, best, scratch, better);
  if (!part.inside || part.lane > 0) return;
  const Index place = (part.slab * tiling.chunks + part.chunk) * tiling.width + part.column;
  values[place] = best.value;
  indices[place] = best.row;
}

constexpr int kThreads = 256;

// One thread per element of dout [A, K], which goes to its winner's place.
template <class T>
__global__ void max_scatter(const T* dout, const Index* indices, Index size, Index rows, Index width, T* dx,
                            Report* report) {
  const Index i = Index{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  const Index slab = i / width, column = i % width, row = indices[i];
  if (row < 0 || row >= rows) return complain(report, Complaint::max_grad_index, i, row, rows);
  dx[(slab * rows + row) * width + column] = dout[i];
}

}  // namespace

void max(const Tensor& x, Tensor& values, Tensor& indices) {
  if (values.size() == 0) return;
  visit_float("max", x.dtype(), [&]<class T>(Type<T>) {
    Tensor rest = x, origins;
    for (bool last = false; !last;) {
      const Tiling tiling(rest.dim(0), rest.dim(1), rest.dim(2));
      last = tiling.chunks == 1;
      const Shape shape = rest.shape().with(1, tiling.chunks);
      Tensor winners = last ? values.reshape(shape) : empty(shape, x.dtype(), x.device());
      Tensor rows = last ? indices.reshape(shape) : empty(shape, kInt64, x.device());
      const auto threads = static_cast<unsigned>(tiling.threads());
      launch(max_tiles<T>, dim3(tiling.blocks("max")), dim3(threads), shared_size<Best<T>>(threads), current_stream(),
             rest.data<T>(), origins.defined() ? origins.data<Index>() : nullptr, tiling, winners.data<T>(),
             rows.data<Index>());
      rest = winners;
      origins = rows;
    }
  });
}

void max_grad(const Tensor& dout, const Tensor& indices, Tensor& dx) {
  if (dout.size() == 0) return;
  visit_float("max_grad", dx.dtype(), [&]<class T>(Type<T>) {
    launch(max_scatter<T>, dim3(blocks_for("max_grad", dout.size(), kThreads)), dim3(kThreads), 0, current_stream(),
           dout.data<T>(), indices.data<Index>(), dout.size(), dx.dim(1), dx.dim(2), dx.data<T>(), report());
  });
}

}  // namespace subquad::kernels::cuda
