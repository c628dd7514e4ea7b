#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_arithmetic.cuh"
#include "subquad/kernels/matmul/cuda_small.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;                                        // rows and columns of the result that a block makes
constexpr int kDepth = 32;                                       // terms that are staged at a time
constexpr int kLeftPitch = kDepth + 4, kRightPitch = kTile + 8;  // lanes that read a fragment hit different banks
constexpr int kWarpColumns = 2;                                  // warps side by side

// to[r][c] = element (first_row + r, first_column + c) of a matrix [rows, columns], zeros outside; neighbouring threads
// along the side that lies without gaps.
template <int kRows, int kColumns, int kPitch>
__device__ void stage(const SmallMatrices<const float>& x, const float* matrix, int first_row, int first_column,
                      Index rows, Index columns, float* to) {
#pragma unroll 4
  for (int at = static_cast<int>(threadIdx.x); at < kRows * kColumns; at += kThreads) {
    const int r = x.column == 1 ? at / kColumns : at % kRows, c = x.column == 1 ? at % kColumns : at / kRows;
    const Index row = first_row + r, column = first_column + c;
    to[r * kPitch + c] = row < rows && column < columns ? matrix[row * x.row + column * x.column] : 0.0f;
  }
}

// What a block works on: an item and 64 x 64 of its result.
struct Place {
  Index i, j;
  int first_row, first_column;

  __device__ explicit Place(const SmallProducts& p) {
    const Index row_tiles = (p.m + kTile - 1) / kTile, column_tiles = (p.n + kTile - 1) / kTile;
    const Index item = Index{blockIdx.x} / (row_tiles * column_tiles);
    i = item / p.inner;
    j = item % p.inner;
    first_row = static_cast<int>(blockIdx.x / column_tiles % row_tiles) * kTile;
    first_column = static_cast<int>(blockIdx.x % column_tiles) * kTile;
  }

  template <class T>
  __device__ T* matrix(const SmallMatrices<T>& x) const {
    return x.data + i * x.outer + j * x.inner;
  }
};

// Calls step(left, right) for every 32 terms of the block's sums, which lie in shared memory meanwhile.
template <class F>
__device__ void for_terms(const Place& place, const SmallProducts& p, const SmallMatrices<const float>& a,
                          const SmallMatrices<const float>& b, const F& step) {
  SharedMemory shared;
  float* const left = shared.take<float>(kTile * kLeftPitch);
  float* const right = shared.take<float>(kDepth * kRightPitch);
  for (int first = 0; first < p.k; first += kDepth) {
    __syncthreads();  // what was staged before is no longer read
    stage<kTile, kDepth, kLeftPitch>(a, place.matrix(a), place.first_row, first, p.m, p.k, left);
    stage<kDepth, kTile, kRightPitch>(b, place.matrix(b), first, place.first_column, p.k, p.n, right);
    __syncthreads();
    step(left, right);
  }
}

__device__ void store(const Place& place, const SmallProducts& p, const SmallMatrices<float>& out, int row, int column,
                      float sum) {
  const Index r = place.first_row + row, c = place.first_column + column;
  if (r >= p.m || c >= p.n) return;
  float* const to = place.matrix(out) + r * out.row + c * out.column;
  *to = p.alpha * sum + (p.beta == 0 ? 0.0f : p.beta * *to);
}

// float32 itself: a product with the identity is exact, as pinv's users count on. A thread has 4 x 4 results.
__global__ void __launch_bounds__(kThreads)
    small_products_plain(SmallProducts p, SmallMatrices<const float> a, SmallMatrices<const float> b,
                         SmallMatrices<float> out) {
  const Place place(p);
  const int row = static_cast<int>(threadIdx.x) / 16 * 4, column = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[4][4] = {};
  for_terms(place, p, a, b, [&](const float* left, const float* right) {
#pragma unroll 8
    for (int k = 0; k < kDepth; ++k) {
      const Four columns = load_pack<4>(right + k * kRightPitch + column);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float x = left[(row + r) * kLeftPitch + k];
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[r][c] += x * columns.at[c];
      }
    }
  });
#pragma unroll
  for (int r = 0; r < 4; ++r)
#pragma unroll
    for (int c = 0; c < 4; ++c) store(place, p, out, row + r, column + c, sums[r][c]);
}

// TF32 or bfloat16 operands on tensor cores: a warp has 16 x 32 results.
template <class Product>
__global__ void __launch_bounds__(kThreads) small_products(SmallProducts p, SmallMatrices<const float> a,
                                                           SmallMatrices<const float> b, SmallMatrices<float> out) {
  constexpr int kFragments = kTile / kWarpColumns / 8;
  const Place place(p);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int g = lane / 4, t = lane % 4;
  const int row = warp / kWarpColumns * 16 + g, column = warp % kWarpColumns * (kTile / kWarpColumns);
  float sums[kFragments][4] = {};
  for_terms(place, p, a, b, [&](const float* left, const float* right) {
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      Four upper, lower;
#pragma unroll
      for (int x = 0; x < 4; ++x) {
        upper.at[x] = left[row * kLeftPitch + k + t + 4 * x];
        lower.at[x] = left[(row + 8) * kLeftPitch + k + t + 4 * x];
      }
      const typename Product::Left rows = Product::left(Product::keep(upper, lower));
#pragma unroll
      for (int n = 0; n < kFragments; ++n) {
        Four terms;
#pragma unroll
        for (int x = 0; x < 4; ++x) terms.at[x] = right[(k + t + 4 * x) * kRightPitch + column + 8 * n + g];
        Product::accumulate(sums[n], rows, Product::right(terms));
      }
    }
  });
#pragma unroll
  for (int n = 0; n < kFragments; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) store(place, p, out, row + e / 2 * 8, column + 8 * n + 2 * t + e % 2, sums[n][e]);
}

}  // namespace

void small_matmul(const SmallProducts& products, const SmallMatrices<const float>& a,
                  const SmallMatrices<const float>& b, const SmallMatrices<float>& out) {
  const Index tiles = (products.m + kTile - 1) / kTile * ((products.n + kTile - 1) / kTile);
  const auto start = [&](auto kernel) {
    launch(kernel, dim3(blocks_for("matmul", products.outer * products.inner * tiles, 1)), dim3(kThreads),
           shared_size<float>(kTile * kLeftPitch) + shared_size<float>(kDepth * kRightPitch), current_stream(),
           products, a, b, out);
  };
  switch (precision()) {
    case Precision::fp32: return start(small_products_plain);
    case Precision::tf32: return start(small_products<Tf32Product>);
    case Precision::bf16: return start(small_products<Bf16Product>);
  }
}

}  // namespace subquad::kernels::cuda
