#include "subquad/kernels/landmark_softmax/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/landmark_softmax/cuda_row.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kRows = 8, kThreads = kRows * kWarp;  // of a block

// Both: a warp per row, lanes along its columns. x is read from memory once and then from cache.
template <class T>
__global__ void landmark_softmax_rows(const T* x, T scale, Counted counted, Index rows, Index heads, Index size, T* y) {
  const Index row = Index{blockIdx.x} * kRows + threadIdx.x / kWarp;
  if (row < rows) weigh_row(x + row * size, scale, counted, row / size / heads, row % size, size, y + row * size);
}

template <class T>
__global__ void landmark_softmax_grad_rows(const T* dout, const T* y, T scale, Counted counted, Index rows, Index heads,
                                           Index size, T* dx) {
  const Index row = Index{blockIdx.x} * kRows + threadIdx.x / kWarp;
  if (row >= rows) return;
  differentiate_row(dout + row * size, y + row * size, scale, counted, row / size / heads, row % size, size,
                    dx + row * size);
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
