#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/attention/cuda_arithmetic.cuh"
#include "subquad/kernels/matmul/cuda_small_tile.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kWarpColumns = 2;  // warps side by side

__device__ void store(const SmallPlace& place, const SmallProducts& p, const SmallMatrices<float>& out, int row,
                      int column, float sum) {
  const Index r = place.first_row + row, c = place.first_column + column;
  if (r >= p.m || c >= p.n) return;
  float* const to = place.matrix(out) + r * out.row + c * out.column;
  *to = p.alpha * sum + (p.beta == 0 ? 0.0f : p.beta * *to);
}

// float32 itself, as pinv's users count on.
__global__ void __launch_bounds__(kSmallThreads)
    small_products_plain(SmallProducts p, SmallMatrices<const float> a, SmallMatrices<const float> b,
                         SmallMatrices<float> out) {
  const SmallPlace place(p, blockIdx.x);
  multiply_small(place, p, a, b, [&](int row, int column, float sum) { store(place, p, out, row, column, sum); });
}

// TF32 or bfloat16 operands on tensor cores: a warp has 16 x 32 results.
template <class Product>
__global__ void __launch_bounds__(kSmallThreads)
    small_products(SmallProducts p, SmallMatrices<const float> a, SmallMatrices<const float> b,
                   SmallMatrices<float> out) {
  constexpr int kFragments = kSmallTile / kWarpColumns / 8;
  const SmallPlace place(p, blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int g = lane / 4, t = lane % 4;
  const int row = warp / kWarpColumns * 16 + g, column = warp % kWarpColumns * (kSmallTile / kWarpColumns);
  float sums[kFragments][4] = {};
  for_terms(place, p, a, b, [&](const float* left, const float* right) {
#pragma unroll
    for (int k = 0; k < kSmallDepth; k += 16) {
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
  const auto start = [&](auto kernel) {
    launch(kernel, dim3(blocks_for("matmul", small_blocks(products), 1)), dim3(kSmallThreads), small_bytes(),
           current_stream(), products, a, b, out);
  };
  switch (precision()) {
    case Precision::fp32: return start(small_products_plain);
    case Precision::tf32: return start(small_products<Tf32Product>);
    case Precision::bf16: return start(small_products<Bf16Product>);
  }
}

}  // namespace subquad::kernels::cuda
