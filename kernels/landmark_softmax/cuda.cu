#include "subquad/kernels/landmark_softmax/cuda.h"

#include <cmath>
#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kRows = 8, kThreads = kRows * kWarp;  // of a block

// Which landmarks count; null: all, no sample.
struct Counted {
  const bool* counts;
  const bool* none;
  bool uniform;  // rows that are left out

  Counted(const Tensor& which, const Tensor& samples, const LandmarkSoftmaxOptions& options)
      : counts(which.defined() ? which.data<bool>() : nullptr),
        none(samples.defined() ? samples.data<bool>() : nullptr),
        uniform(options.left_out == LeftOutRows::uniform) {}

  __device__ bool operator()(Index b, Index size, Index i) const {
    return (none == nullptr || !none[b]) && (counts == nullptr || counts[b * size + i]);
  }
};

// The row that a warp works on.
struct WarpOfRow {
  Index row, b, i;
  int lane = static_cast<int>(threadIdx.x) % kWarp;

  __device__ WarpOfRow(Index heads, Index size)
      : row(Index{blockIdx.x} * kRows + threadIdx.x / kWarp), b(row / size / heads), i(row % size) {}
};

// Both: a warp per row, lanes along its columns. x is read from memory once and then from cache.
template <class T>
__global__ void landmark_softmax_rows(const T* x, T scale, Counted counted, Index rows, Index heads, Index size, T* y) {
  const WarpOfRow at(heads, size);
  if (at.row >= rows) return;
  const T* const from = x + at.row * size;
  T* const to = y + at.row * size;
  if (!counted(at.b, size, at.i)) {
    const T even = 1 / static_cast<T>(size);
    for (Index j = at.lane; j < size; j += kWarp) to[j] = counted.uniform ? even : j == at.i ? T(1) : T(0);
    return;
  }
  T top = -std::numeric_limits<T>::infinity(), sum = 0;
  for (Index j = at.lane; j < size; j += kWarp)
    if (counted(at.b, size, j)) top = Max::of(top, scale * from[j]);
  top = warp_max(top);
  if (top == -std::numeric_limits<T>::infinity()) top = 0;  // no logit is more than that
  for (Index j = at.lane; j < size; j += kWarp)
    if (counted(at.b, size, j)) sum += std::exp(scale * from[j] - top);
  sum = warp_sum(sum);
  const T factor = sum == 0 ? T(0) : 1 / sum;
  for (Index j = at.lane; j < size; j += kWarp)
    to[j] = counted(at.b, size, j) ? std::exp(scale * from[j] - top) * factor : T(0);
}

template <class T>
__global__ void landmark_softmax_grad_rows(const T* dout, const T* y, T scale, Counted counted, Index rows, Index heads,
                                           Index size, T* dx) {
  const WarpOfRow at(heads, size);
  if (at.row >= rows) return;
  const T *const up = dout + at.row * size, *const p = y + at.row * size;
  const bool counts = counted(at.b, size, at.i);
  T dot = 0;
  for (Index j = at.lane; j < size; j += kWarp)
    if (counts && counted(at.b, size, j)) dot += up[j] * p[j];
  dot = warp_sum(dot);
  for (Index j = at.lane; j < size; j += kWarp)
    dx[at.row * size + j] = counts && counted(at.b, size, j) ? scale * (p[j] * (up[j] - dot)) : T(0);
}

}  // namespace

void landmark_softmax(const Tensor& x, const Tensor& counts, const Tensor& none, const LandmarkSoftmaxOptions& options,
                      Tensor& y) {
  if (y.size() == 0) return;
  const Index size = y.dim(3), rows = y.size() / size;
  visit_float("landmark_softmax", y.dtype(), [&]<class T>(Type<T>) {
    launch(landmark_softmax_rows<T>, dim3(blocks_for("landmark_softmax", rows, kRows)), dim3(kThreads), 0,
           current_stream(), x.data<T>(), static_cast<T>(options.scale), Counted(counts, none, options), rows, y.dim(1),
           size, y.data<T>());
  });
}

void landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, Tensor& dx) {
  if (y.size() == 0) return;
  const Index size = y.dim(3), rows = y.size() / size;
  visit_float("landmark_softmax_grad", y.dtype(), [&]<class T>(Type<T>) {
    launch(landmark_softmax_grad_rows<T>, dim3(blocks_for("landmark_softmax_grad", rows, kRows)), dim3(kThreads), 0,
           current_stream(), dout.data<T>(), y.data<T>(), static_cast<T>(options.scale), Counted(counts, none, options),
           rows, y.dim(1), size, dx.data<T>());
  });
}

}  // namespace subquad::kernels::cuda
