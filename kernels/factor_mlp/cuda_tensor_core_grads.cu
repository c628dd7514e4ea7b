// Gradients of the parameters: blocks own hidden units and walk over the rows.
#include "subquad/kernels/factor_mlp/cuda_tensor_core.h"
#include "subquad/kernels/factor_mlp/cuda_tile.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kBlockUnits = kTensorWarps * kFragmentRows;

// Whether the fragments of the units' weights fit into registers beside the gradients.
template <class Product, int W>
constexpr bool kKeep = W <= (std::is_same_v<Product, Fp32Product> ? 32 : 64);

// Blocks per multiprocessor that registers must leave room for; 0 = ptxas may choose. Left alone it spills for a third.
template <int W, int V>
constexpr int kMinBlocks = W + V <= 64 ? 2 : 0;

// Blocks for the same units: one makes dA and dC, or, where both do not fit into registers, one makes either.
template <class Product, int W, int V>
constexpr int kParts = W + V <= (std::is_same_v<Product, Fp32Product> ? 128 : 160) ? 1 : 2;

// Where dC is summed: beside dA, or, by a block that does not make dA, in its place.
template <bool kBeside, int V, class First, class Beside>
__device__ Sums<1, V>& second_sums(First& first, Beside& beside) {
  if constexpr (kBeside)
    return beside;
  else
    return reinterpret_cast<Sums<1, V>&>(first);  // the first V columns
}

struct GradSets {
  GradSet set;
  float* sets;
  int rows_of_chunk, blocks_of_factor;
};

// The first 32 rows from `first` on, in steps of 32, that any real one is among; all bits 0 where there is none.
struct RowTile {
  int first;
  unsigned bits;
};
__device__ RowTile next_rows(const MlpArguments& args, int first, int end) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (; first < end; first += kTileRows)
    if (const unsigned bits = __ballot_sync(kWholeWarp, first + lane < end && args.is_real(first + lane)))
      return {first, bits};
  return {end, 0};
}

// Block (perceptron and 64 of its hidden units, chunk of rows): weights of the units are the left factors, rows of x
// and dout lie in shared memory, the next 32 are copied while the block works on these. Rows of its products are units:
//
//   z = A^T x^T + a     dr = C dout^T     dA^T += (dr gelu'(z)) x     dC += gelu(z) dout
//
// The first units of a perceptron also make dc. Per chunk a block reads its rows of x and dout once.
template <class Product, int W, int V>
__global__ void __launch_bounds__(kTensorThreads, kMinBlocks<W, V>)
    factor_mlp_grad_chunks(MlpArguments args, View<const float, 4> dout, GradSets grads) {
  SharedMemory shared;
  float* const x_tiles = shared.take<float>(2 * kTileSize<W>);
  float* const up_tiles = shared.take<float>(2 * kTileSize<V>);
  constexpr bool kOne = kParts<Product, W, V> == 1;
  const int owner = static_cast<int>(blockIdx.x) / kParts<Product, W, V>;
  const bool makes_first = kOne || blockIdx.x % 2 == 0, makes_second = kOne || !makes_first;
  const int m = owner / grads.blocks_of_factor, first_unit = owner % grads.blocks_of_factor * kBlockUnits;
  const int hidden = args.hidden(), thread = static_cast<int>(threadIdx.x);
  const RowFormat inputs = args.inputs(), outputs = args.outputs();
  const HeadRows<const float> x(args.x, 0, 0), up(dout, 0, m), first(args.first, 0, m), second(args.second, 0, m);
  const Lane lane;

  int unit[2];
  float bias[2] = {}, dbias[2] = {};
  const float *first_row[2] = {}, *second_row[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    unit[half] = lane.row(first_unit, 1, 0, half);
    if (unit[half] >= hidden) continue;
    bias[half] = args.first_bias[static_cast<Index>(m) * hidden + unit[half]];
    first_row[half] = first.row(unit[half]);
    second_row[half] = second.row(unit[half]);
  }
  OwnRows<Product, W, kKeep<Product, W>> firsts[1];
  OwnRows<Product, V, W <= 64 && kKeep<Product, V>> seconds[1];
  firsts[0].set(first_row[0], first_row[1], inputs, 1.0f);
  seconds[0].set(second_row[0], second_row[1], outputs, 1.0f);

  Sums<1, W> dfirst = {};
  Sums<1, kOne ? V : 8> beside = {};
  Sums<1, V>& dsecond = second_sums<kOne, V>(dfirst, beside);
  float dsecond_bias = 0;  // of output `thread`
  const bool makes_bias = makes_second && first_unit == 0 && thread < outputs.width;

  const int begin = static_cast<int>(blockIdx.y) * grads.rows_of_chunk;
  const int end = std::min(args.rows(), begin + grads.rows_of_chunk);
  int stage = 0;
  RowTile tile = next_rows(args, begin, end);
  copy_rows<W>(x, tile.first, tile.bits, inputs, x_tiles);
  copy_rows<V>(up, tile.first, tile.bits, outputs, up_tiles);
  copy_async_commit();
  while (tile.bits != 0) {
    const RowTile next = next_rows(args, tile.first + kTileRows, end);
    copy_rows<W>(x, next.first, next.bits, inputs, x_tiles + (1 - stage) * kTileSize<W>);
    copy_rows<V>(up, next.first, next.bits, outputs, up_tiles + (1 - stage) * kTileSize<V>);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();

    const float *const x_tile = x_tiles + stage * kTileSize<W>, *const up_tile = up_tiles + stage * kTileSize<V>;
    Logits<1> z;
    multiply_rows<Product, Queries::right>(z, firsts, x_tile, 1.0f);
    if (makes_first) {
      Logits<1> dz;
      multiply_rows<Product, Queries::right>(dz, seconds, up_tile, 1.0f);
#pragma unroll
      for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const Gelu<float> r = gelu(z[0][n][e] + bias[e / 2]);
          z[0][n][e] = r.value;
          dz[0][n][e] *= r.slope;
          dbias[e / 2] += dz[0][n][e];
        }
      multiply_columns<Product, W>(dfirst, dz, x_tile);
    } else {
#pragma unroll
      for (auto& fragment : z[0])
#pragma unroll
        for (int e = 0; e < 4; ++e) fragment[e] = gelu(fragment[e] + bias[e / 2]).value;
    }
    if (makes_second) multiply_columns<Product, V>(dsecond, z, up_tile);
    if (makes_bias)
      for (int r = 0; r < kTileRows; ++r) dsecond_bias += up_tile[r * kPitch<V> + thread];

    __syncthreads();  // the tile is no longer read
    tile = next;
    stage = 1 - stage;
  }

  float* const set = grads.sets + blockIdx.y * grads.set.size;
  float* const to_first = set + grads.set.first + static_cast<Index>(m) * inputs.width * hidden;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    dbias[half] += __shfl_xor_sync(kWholeWarp, dbias[half], 1);
    dbias[half] += __shfl_xor_sync(kWholeWarp, dbias[half], 2);
    if (unit[half] >= hidden) continue;
    const Index place = static_cast<Index>(m) * hidden + unit[half];
    if (makes_first && lane.t == 0) set[grads.set.first_bias + place] = dbias[half];
    if (makes_first)
#pragma unroll
      for (int n = 0; n < W / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int input = n / 4 * 32 + 4 * (2 * lane.t + c) + n % 4;
          if (input < inputs.width)
            to_first[static_cast<Index>(input) * hidden + unit[half]] = dfirst[0][n][2 * half + c];
        }
    if (makes_second)
      store_sums<V>(set + grads.set.second + place * outputs.width, dsecond[0], half, 1.0f,
                    {outputs.width, outputs.width % 4 == 0});
  }
  if (makes_bias) set[grads.set.second_bias + static_cast<Index>(m) * outputs.width + thread] = dsecond_bias;
}

}  // namespace

RowChunks factor_mlp_tensor_core_chunks(const Tensor& x, const FactorMlp& mlp) {
  const MlpSizes s(x, mlp);
  return {s, s.factors * ((s.hidden + kBlockUnits - 1) / kBlockUnits),
          static_cast<std::size_t>(GradSet(s).size) * sizeof(float)};
}

void factor_mlp_tensor_core_grads(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Tensor& turned,
                                  const Mask& mask, Tensor& sets) {
  const MlpSizes s(x, mlp);
  const MlpArguments args(x, mlp, turned, mask, mlp_rows_packed(s.inputs, x, turned),
                          mlp_rows_packed(s.outputs, mlp.second, dout));
  const Tensor ups = MlpArguments::as_rows(dout, s.factors);
  const auto blocks_of_factor = (s.hidden + kBlockUnits - 1) / kBlockUnits;
  const GradSets grads{GradSet(s), sets.data<float>(), static_cast<int>(factor_mlp_tensor_core_chunks(x, mlp).rows),
                       static_cast<int>(blocks_of_factor)};
  visit_layer_widths(
      s.inputs, s.outputs, [&]<int W, int V>(std::integral_constant<int, W>, std::integral_constant<int, V>) {
        visit_product(precision(), [&]<class Product>(Product) {
          launch(factor_mlp_grad_chunks<Product, W, V>,
                 dim3(blocks_for("factor_mlp_grad", s.factors * blocks_of_factor * kParts<Product, W, V>, 1),
                      static_cast<unsigned>(sets.dim(0))),
                 dim3(kTensorThreads), 2 * shared_size<float>(kTileSize<W>) + 2 * shared_size<float>(kTileSize<V>),
                 current_stream(), args, ups.view<const float, 4>(), grads);
        });
      });
}

}  // namespace subquad::kernels::cuda
