// Forward and dx: blocks own rows and walk over the hidden units.
#include "subquad/kernels/factor_mlp/cuda_tensor_core.h"

#include "subquad/kernels/factor_mlp/cuda_tile.cuh"

namespace subquad::kernels::cuda {

namespace {

// Fragments of 16 rows per warp: two use every fragment of weights twice, where registers allow.
template <class Product, int W, int V>
constexpr int kFragments = W + V <= (std::is_same_v<Product, Fp32Product> ? 96 : 128) ? 2 : 1;
template <class Product, int W, int V>
constexpr int kBlockRows = kTensorWarps* kFragmentRows* kFragments<Product, W, V>;

// Whether the rows stay in registers, which they share with sums of V columns.
template <class Product, int W, int V>
constexpr bool kKeepRows = !std::is_same_v<Product, Fp32Product> || W + V <= 160;

// Blocks per multiprocessor that registers must leave room for; 0 = ptxas may choose. Left alone it spills for a
// fourth.
template <class Product, int W, int V>
constexpr int kMinBlocks = !std::is_same_v<Product, Fp32Product> && W + V <= 64 ? 3 : 0;

// Tile number `index` of a walk over 32 hidden units at a time, perceptron by perceptron.
struct Walk {
  int per_factor;

  __device__ explicit Walk(const MlpArguments& args) : per_factor(tiles(args.hidden(), kTileRows)) {}
  __device__ int factor(int index) const { return index / per_factor; }
  __device__ int unit(int index) const { return index % per_factor * kTileRows; }
  __device__ bool begins(int index) const { return index % per_factor == 0; }
  __device__ bool ends(int index) const { return (index + 1) % per_factor == 0; }
};

// Block (tile of 64 or 128 rows, some of the perceptrons): the rows stay in registers as fragments, the next 32 hidden
// units are copied while the block works on these, and their values go from the accumulators of the first product into
// the second one. Reads R I numbers for each share of the perceptrons and all weights for each block, writes M R O.
template <class Product, int W, int V>
__global__ void __launch_bounds__(kTensorThreads, kMinBlocks<Product, W, V>)
    factor_mlp_rows(MlpArguments args, int factors_of_block, View<float, 4> out) {
  constexpr int kTiles = kFragments<Product, W, V>;
  using Tile = HiddenTile<W, V>;
  SharedMemory shared;
  float* const memory = shared.take<float>(2 * Tile::kSize);
  const auto tile_of = [&](int stage) { return Tile(memory + stage * Tile::kSize); };
  const int first_row = static_cast<int>(blockIdx.x) * kBlockRows<Product, W, V>;
  const HeadRows<const float> x(args.x, 0, 0);
  const RowFormat outputs = args.outputs();
  const Lane lane;

  OwnRows<Product, W, kKeepRows<Product, W, V>> rows[kTiles];
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
    const int upper = lane.row(first_row, kTiles, m, 0), lower = lane.row(first_row, kTiles, m, 1);
    rows[m].set(args.is_real(upper) ? x.row(upper) : nullptr, args.is_real(lower) ? x.row(lower) : nullptr,
                args.inputs(), 1.0f);
  }

  const Walk walk(args);
  const int first_factor = static_cast<int>(blockIdx.y) * factors_of_block;
  const int end = std::min(args.factors(), first_factor + factors_of_block) * walk.per_factor;
  int stage = 0;
  Sums<kTiles, V> sums;
  tile_of(0).copy(args, first_factor, 0);
  copy_async_commit();
  for (int index = first_factor * walk.per_factor; index < end; ++index) {
    if (index + 1 < end) tile_of(1 - stage).copy(args, walk.factor(index + 1), walk.unit(index + 1));
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const Tile tile = tile_of(stage);

    const int factor = walk.factor(index);
    if (walk.begins(index)) {
      const float* const bias = args.second_bias + static_cast<Index>(factor) * outputs.width;
#pragma unroll
      for (int n = 0; n < V / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = n / 4 * 32 + 4 * (2 * lane.t + e % 2) + n % 4;
          const float start = column < outputs.width ? bias[column] : 0.0f;
#pragma unroll
          for (int m = 0; m < kTiles; ++m) sums[m][n][e] = start;
        }
    }
    Logits<kTiles> z;
    multiply_rows<Product, Queries::left>(z, rows, tile.first, 1.0f);
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float bias = unit_bias(tile, n, e);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) z[m][n][e] = gelu(z[m][n][e] + bias).value;
      }
    multiply_columns<Product, V>(sums, z, tile.second);

    if (walk.ends(index)) {
      const HeadRows<float> out_rows(out, 0, factor);
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = lane.row(first_row, kTiles, m, half);
          if (row >= args.rows()) continue;
          if (!args.is_real(row))
#pragma unroll
            for (auto& sum : sums[m]) sum[2 * half] = sum[2 * half + 1] = 0;
          store_sums<V>(out_rows.row(row), sums[m], half, 1.0f, outputs);
        }
    }
    __syncthreads();  // the tile is no longer read
    stage = 1 - stage;
  }
}

// Whether the fragments of own rows fit into registers beside the gradient.
template <class Product, int W>
constexpr bool kKeep = W <= (std::is_same_v<Product, Fp32Product> ? 32 : 64);

// Block (tile of 64 rows): as above over all perceptrons, whose share of dx all go into the same sums.
template <class Product, int W, int V>
__global__ void __launch_bounds__(kTensorThreads)
    factor_mlp_dx_rows(MlpArguments args, View<const float, 4> dout, View<float, 4> dx) {
  using Tile = HiddenTile<W, V>;
  SharedMemory shared;
  float* const memory = shared.take<float>(2 * Tile::kSize);
  const auto tile_of = [&](int stage) { return Tile(memory + stage * Tile::kSize); };
  const int first_row = static_cast<int>(blockIdx.x) * kTensorWarps * kFragmentRows;
  const HeadRows<const float> x(args.x, 0, 0);
  const Lane lane;
  const int row[2] = {lane.row(first_row, 1, 0, 0), lane.row(first_row, 1, 0, 1)};
  const bool real[2] = {args.is_real(row[0]), args.is_real(row[1])};
  OwnRows<Product, W, kKeep<Product, W>> rows[1];
  OwnRows<Product, V, kKeep<Product, V>> ups[1];
  rows[0].set(real[0] ? x.row(row[0]) : nullptr, real[1] ? x.row(row[1]) : nullptr, args.inputs(), 1.0f);

  const Walk walk(args);
  const int end = args.factors() * walk.per_factor;
  int stage = 0;
  Sums<1, W> sums = {};
  tile_of(0).copy(args, 0, 0);
  copy_async_commit();
  for (int index = 0; index < end; ++index) {
    if (index + 1 < end) tile_of(1 - stage).copy(args, walk.factor(index + 1), walk.unit(index + 1));
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const Tile tile = tile_of(stage);

    if (walk.begins(index)) {
      const HeadRows<const float> up(dout, 0, walk.factor(index));
      ups[0].set(real[0] ? up.row(row[0]) : nullptr, real[1] ? up.row(row[1]) : nullptr, args.outputs(), 1.0f);
    }
    Logits<1> z, dz;
    multiply_rows<Product, Queries::left>(z, rows, tile.first, 1.0f);
    multiply_rows<Product, Queries::left>(dz, ups, tile.second, 1.0f);
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) dz[0][n][e] *= gelu(z[0][n][e] + unit_bias(tile, n, e)).slope;
    multiply_columns<Product, W>(sums, dz, tile.first);

    __syncthreads();  // the tile is no longer read
    stage = 1 - stage;
  }

  const HeadRows<float> dx_rows(dx, 0, 0);
#pragma unroll
  for (int half = 0; half < 2; ++half)
    if (row[half] < args.rows()) store_sums<W>(dx_rows.row(row[half]), sums[0], half, 1.0f, args.inputs());
}

template <int W, int V>
constexpr std::size_t kTileBytes = shared_size<float>(2 * HiddenTile<W, V>::kSize);

}  // namespace

bool fits_tensor_cores(const Tensor& x, const FactorMlp& mlp) {
  const MlpSizes s(x, mlp);
  constexpr Index kMostRows = Index{1} << 30;  // that an int counts, and some tiles more
  return x.dtype() == kFloat32 && s.inputs <= kWidestLayer && s.outputs <= kWidestLayer && s.rows <= kMostRows;
}

void factor_mlp_tensor_core(const Tensor& x, const FactorMlp& mlp, const Tensor& turned, const Mask& mask,
                            Tensor& out) {
  constexpr Index kBlocks = 264;
  const MlpSizes s(x, mlp);
  const MlpArguments args(x, mlp, turned, mask, mlp_rows_packed(s.inputs, x, turned),
                          mlp_rows_packed(s.outputs, mlp.second, out));
  Tensor results = MlpArguments::as_rows(out, s.factors);
  visit_layer_widths(
      s.inputs, s.outputs, [&]<int W, int V>(std::integral_constant<int, W>, std::integral_constant<int, V>) {
        visit_product(precision(), [&]<class Product>(Product) {
          const unsigned blocks = blocks_for("factor_mlp", s.rows, kBlockRows<Product, W, V>);
          const Index shares = std::min(s.factors, (kBlocks + blocks - 1) / blocks);  // one block each for few rows
          const Index factors = (s.factors + shares - 1) / shares;
          launch(factor_mlp_rows<Product, W, V>,
                 dim3(blocks, static_cast<unsigned>((s.factors + factors - 1) / factors)), dim3(kTensorThreads),
                 kTileBytes<W, V>, current_stream(), args, static_cast<int>(factors), results.view<float, 4>());
        });
      });
}

void factor_mlp_tensor_core_dx(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Tensor& turned,
                               const Mask& mask, Tensor& dx) {
  const MlpSizes s(x, mlp);
  const MlpArguments args(x, mlp, turned, mask, mlp_rows_packed(s.inputs, x, turned, dx),
                          mlp_rows_packed(s.outputs, mlp.second, dout));
  const Tensor ups = MlpArguments::as_rows(dout, s.factors);
  Tensor results = MlpArguments::as_rows(dx, 1);
  visit_layer_widths(
      s.inputs, s.outputs, [&]<int W, int V>(std::integral_constant<int, W>, std::integral_constant<int, V>) {
        visit_product(precision(), [&]<class Product>(Product) {
          launch(factor_mlp_dx_rows<Product, W, V>,
                 dim3(blocks_for("factor_mlp_grad", s.rows, kTensorWarps * kFragmentRows)), dim3(kTensorThreads),
                 kTileBytes<W, V>, current_stream(), args, ups.view<const float, 4>(), results.view<float, 4>());
        });
      });
}

}  // namespace subquad::kernels::cuda
