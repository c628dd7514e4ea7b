#include "subquad/kernels/matmul/cuda_or.h"

#include "subquad/kernels/matmul/cuda_small_tile.cuh"

namespace subquad::kernels::cuda {
namespace {

// Element (r, c) of the block's item; null where the matrix has none.
template <class T>
__device__ T* element(const SmallPlace& place, const SmallMatrices<T>& matrices, Index rows, Index columns, int row,
                      int column) {
  const Index r = place.first_row + row, c = place.first_column + column;
  return r < rows && c < columns ? place.matrix(matrices) + r * matrices.row + c * matrices.column : nullptr;
}

// A block per 64 x 64 of an item: its product, or the same of x where the sample gets that.
__global__ void __launch_bounds__(kSmallThreads)
    matmul_or_blocks(SmallProducts p, SmallMatrices<const float> a, SmallMatrices<const float> y,
                     SmallMatrices<const float> x, const bool* none, SmallMatrices<float> out) {
  const SmallPlace place(p, blockIdx.x);
  if (none[place.i]) {
    for (int at = static_cast<int>(threadIdx.x); at < kSmallTile * kSmallTile; at += kSmallThreads) {
      const int row = at / kSmallTile, column = at % kSmallTile;
      if (float* const to = element(place, out, p.m, p.n, row, column)) *to = *element(place, x, p.m, p.n, row, column);
    }
    return;
  }
  multiply_small(place, p, a, y, [&](int row, int column, float sum) {
    if (float* const to = element(place, out, p.m, p.n, row, column)) *to = sum;
  });
}

// The first blocks have 64 x 64 of da = dout y^T each, the others of dy = a^T dout and of dx.
__global__ void __launch_bounds__(kSmallThreads)
    matmul_or_grad_blocks(SmallProducts of_a, SmallProducts of_y, SmallMatrices<const float> dout,
                          SmallMatrices<const float> a_transposed, SmallMatrices<const float> y_transposed,
                          const bool* none, unsigned blocks_of_a, SmallMatrices<float> da, SmallMatrices<float> dy,
                          SmallMatrices<float> dx) {
  if (blockIdx.x < blocks_of_a) {
    const SmallPlace place(of_a, blockIdx.x);
    if (none[place.i]) {
      for (int at = static_cast<int>(threadIdx.x); at < kSmallTile * kSmallTile; at += kSmallThreads)
        if (float* const to = element(place, da, of_a.m, of_a.n, at / kSmallTile, at % kSmallTile)) *to = 0;
      return;
    }
    multiply_small(place, of_a, dout, y_transposed, [&](int row, int column, float sum) {
      if (float* const to = element(place, da, of_a.m, of_a.n, row, column)) *to = sum;
    });
    return;
  }
  const SmallPlace place(of_y, blockIdx.x - blocks_of_a);
  const bool instead = none[place.i];
  for (int at = static_cast<int>(threadIdx.x); at < kSmallTile * kSmallTile; at += kSmallThreads) {
    const int row = at / kSmallTile, column = at % kSmallTile;
    if (float* const to = element(place, dx, of_y.m, of_y.n, row, column))
      *to = instead ? *element(place, dout, of_y.m, of_y.n, row, column) : 0.0f;
    if (!instead) continue;
    if (float* const to = element(place, dy, of_y.m, of_y.n, row, column)) *to = 0;
  }
  if (instead) return;
  multiply_small(place, of_y, a_transposed, dout, [&](int row, int column, float sum) {
    if (float* const to = element(place, dy, of_y.m, of_y.n, row, column)) *to = sum;
  });
}

template <class T>
SmallMatrices<T> matrices(const Tensor& t) {
  return {t.data<T>(), t.strides()[2], t.strides()[3], t.strides()[0], t.strides()[1]};
}
SmallMatrices<float> matrices(Tensor& t) {
  return {t.data<float>(), t.strides()[2], t.strides()[3], t.strides()[0], t.strides()[1]};
}

}  // namespace

void matmul_or(const Tensor& a, const Tensor& y, const Tensor& x, const Tensor& none, Tensor& out) {
  if (out.size() == 0) return;
  const SmallProducts p{a.dim(0), a.dim(1), a.dim(2), y.dim(3), a.dim(3), 1, 0};
  launch(matmul_or_blocks, dim3(blocks_for("matmul_or", small_blocks(p), 1)), dim3(kSmallThreads), small_bytes(),
         current_stream(), p, matrices<const float>(a), matrices<const float>(y), matrices<const float>(x),
         none.data<bool>(), matrices(out));
}

void matmul_or_grad(const Tensor& dout, const Tensor& a, const Tensor& y, const Tensor& none, MatmulOrGrads& grads) {
  const Index batch = a.dim(0), heads = a.dim(1), rows = a.dim(2), width = y.dim(3);
  const SmallProducts of_a{batch, heads, rows, rows, width, 1, 0}, of_y{batch, heads, rows, width, rows, 1, 0};
  const Index blocks_of_a = small_blocks(of_a), blocks = blocks_of_a + small_blocks(of_y);
  if (blocks == 0) return;
  launch(matmul_or_grad_blocks, dim3(blocks_for("matmul_or_grad", blocks, 1)), dim3(kSmallThreads), small_bytes(),
         current_stream(), of_a, of_y, matrices<const float>(dout), matrices<const float>(a.transpose(2, 3)),
         matrices<const float>(y.transpose(2, 3)), none.data<bool>(), static_cast<unsigned>(blocks_of_a),
         matrices(grads.da), matrices(grads.dy), matrices(grads.dx));
}

}  // namespace subquad::kernels::cuda
