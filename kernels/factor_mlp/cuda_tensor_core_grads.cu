// Gradients of the parameters: blocks own hidden units and walk over the rows.
#include "subquad/kernels/factor_mlp/cuda_tensor_core.h"
#include "subquad/kernels/factor_mlp/cuda_tile.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kBlockUnits = kTensorWarps * kFragmentRows;

// Shared memory of a group of warps: two tiles of rows of x and of dout.
template <int W, int V>
constexpr std::size_t kGroupBytes = 2 * (shared_size<float>(kTileSize<W>) + shared_size<float>(kTileSize<V>));

// Where two warps hold all units of a perceptron, the other two take every other tile of rows, if the device has shared
// memory for theirs (more than 99 KiB only where a layer is wider than 64).
int groups_of(Index hidden, std::size_t group_bytes) {
  const bool fits = 2 * group_bytes <= properties(current_device()).shared_bytes_per_block;
  return hidden <= kBlockUnits / 2 && fits ? 2 : 1;
}

// Whether the fragments of one layer's weights, kOwn wide, fit into registers beside the gradients.
template <class Product, int W, int V, int kOwn>
constexpr bool kKeep = W + V < 128 && kOwn <= (std::is_same_v<Product, Fp32Product> ? 32 : 64);

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
  int rows_of_chunk, blocks_of_factor, groups;
};

// 32 rows for each group of warps: the first ones from `first` on, in steps of so many, that any real one is among.
// All bits are 0 where there are none.
struct RowTiles {
  int first;
  unsigned bits[2];

  __device__ bool any() const { return (bits[0] | bits[1]) != 0; }
};
__device__ RowTiles next_rows(const MlpArguments& args, int groups, int first, int end) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto bits = [&](int from) { return __ballot_sync(kWholeWarp, from + lane < end && args.is_real(from + lane)); };
  for (; first < end; first += groups * kTileRows) {
    const RowTiles found{first, {bits(first), groups == 2 ? bits(first + kTileRows) : 0}};
    if (found.any()) return found;
  }
  return {end, {0, 0}};
}

// Block (perceptron and 64 of its hidden units, chunk of rows): weights of the units are the left factors, rows of x
// and dout lie in shared memory, the next 32 are copied while the block works on these. Rows of its products are units:
//
//   z = A^T x^T + a     dr = C dout^T     dA^T += (dr gelu'(z)) x     dC += gelu(z) dout
//
// The first units of a perceptron also make dc. Two groups of warps meet at the end, in shared memory. Per chunk a
// block reads its rows of x and dout once.
template <class Product, int W, int V>
__global__ void __launch_bounds__(kTensorThreads, kMinBlocks<W, V>)
    factor_mlp_grad_chunks(MlpArguments args, View<const float, 4> dout, GradSets grads) {
  SharedMemory shared;
  const int groups = grads.groups;
  float* const x_tiles = shared.take<float>(2 * groups * kTileSize<W>);  // [stage][group]
  float* const up_tiles = shared.take<float>(2 * groups * kTileSize<V>);
  constexpr bool kOne = kParts<Product, W, V> == 1;
  const int owner = static_cast<int>(blockIdx.x) / kParts<Product, W, V>;
  const bool makes_first = kOne || blockIdx.x % 2 == 0, makes_second = kOne || !makes_first;
  const int m = owner / grads.blocks_of_factor, first_unit = owner % grads.blocks_of_factor * kBlockUnits;
  const int hidden = args.hidden(), thread = static_cast<int>(threadIdx.x);
  const RowFormat inputs = args.inputs(), outputs = args.outputs();
  const HeadRows<const float> x(args.x, 0, 0), up(dout, 0, m), first(args.first, 0, m), second(args.second, 0, m);
  const Lane lane;
  const int warp = thread / kWarp, group = groups == 2 ? warp / 2 : 0;

  int unit[2];
  float bias[2] = {}, dbias[2] = {};
  const float *first_row[2] = {}, *second_row[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    unit[half] = first_unit + (groups == 2 ? warp % 2 : warp) * kFragmentRows + lane.g + 8 * half;
    if (unit[half] >= hidden) continue;
    bias[half] = args.first_bias[static_cast<Index>(m) * hidden + unit[half]];
    first_row[half] = first.row(unit[half]);
    second_row[half] = second.row(unit[half]);
  }
  OwnRows<Product, W, kKeep<Product, W, V, W>> firsts[1];
  OwnRows<Product, V, kKeep<Product, W, V, V>> seconds[1];
  firsts[0].set(first_row[0], first_row[1], inputs, 1.0f);
  seconds[0].set(second_row[0], second_row[1], outputs, 1.0f);

  Sums<1, W> dfirst = {};
  Sums<1, kOne ? V : 8> beside = {};
  Sums<1, V>& dsecond = second_sums<kOne, V>(dfirst, beside);
  float dsecond_bias = 0;  // of output `thread`
  const bool makes_bias = makes_second && first_unit == 0 && thread < outputs.width;

  const int begin = static_cast<int>(blockIdx.y) * grads.rows_of_chunk;
  const int end = std::min(args.rows(), begin + grads.rows_of_chunk);
  const auto copy = [&](const RowTiles& found, int stage) {
#pragma unroll
    for (int g = 0; g < 2; ++g) {
      const int row = found.first + g * kTileRows;
      copy_rows<W>(x, row, found.bits[g], inputs, x_tiles + (stage * groups + g) * kTileSize<W>);
      copy_rows<V>(up, row, found.bits[g], outputs, up_tiles + (stage * groups + g) * kTileSize<V>);
    }
    copy_async_commit();
  };
  int stage = 0;
  RowTiles tiles = next_rows(args, groups, begin, end);
  copy(tiles, stage);
  while (tiles.any()) {
    const RowTiles next = next_rows(args, groups, tiles.first + groups * kTileRows, end);
    copy(next, 1 - stage);
    copy_async_wait<1>();
    __syncthreads();

    if (makes_bias)
#pragma unroll
      for (int g = 0; g < 2; ++g)
        for (int r = 0; tiles.bits[g] != 0 && r < kTileRows; ++r)
          dsecond_bias += up_tiles[(stage * groups + g) * kTileSize<V> + r * kPitch<V> + thread];
    if ((group == 0 ? tiles.bits[0] : tiles.bits[1]) != 0) {
      const float* const x_tile = x_tiles + (stage * groups + group) * kTileSize<W>;
      const float* const up_tile = up_tiles + (stage * groups + group) * kTileSize<V>;
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
    }
    __syncthreads();  // the tiles are no longer read
    tiles = next;
    stage = 1 - stage;
  }

  if (groups == 2) {  // the second one's sums go to the first one
    float* const meeting = x_tiles + warp % 2 * kWarp * (W / 2 + V / 2 + 2) + thread % kWarp;
    int place = 0;
    const auto each = [&](const auto& f) {
#pragma unroll
      for (auto& fragment : dfirst[0])
#pragma unroll
        for (float& sum : fragment) f(sum, meeting[kWarp * place++]);
      if constexpr (kOne)
#pragma unroll
        for (auto& fragment : beside[0])
#pragma unroll
          for (float& sum : fragment) f(sum, meeting[kWarp * place++]);
#pragma unroll
      for (float& sum : dbias) f(sum, meeting[kWarp * place++]);
    };
    if (group == 1) each([](float sum, float& there) { there = sum; });
    __syncthreads();
    if (group == 0) each([](float& sum, float there) { sum += there; });
  }

  float* const set = grads.sets + blockIdx.y * grads.set.size;
  float* const to_first = set + grads.set.first + static_cast<Index>(m) * inputs.width * hidden;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    dbias[half] += __shfl_xor_sync(kWholeWarp, dbias[half], 1);
    dbias[half] += __shfl_xor_sync(kWholeWarp, dbias[half], 2);
    if (unit[half] >= hidden || group == 1) continue;
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
  const auto rows_of_chunk = static_cast<int>(factor_mlp_tensor_core_chunks(x, mlp).rows);
  visit_layer_widths(
      s.inputs, s.outputs, [&]<int W, int V>(std::integral_constant<int, W>, std::integral_constant<int, V>) {
        const GradSets grads{GradSet(s), sets.data<float>(), rows_of_chunk, static_cast<int>(blocks_of_factor),
                             groups_of(s.hidden, kGroupBytes<W, V>)};
        visit_product(precision(), [&]<class Product>(Product) {
          launch(factor_mlp_grad_chunks<Product, W, V>,
                 dim3(blocks_for("factor_mlp_grad", s.factors * blocks_of_factor * kParts<Product, W, V>, 1),
                      static_cast<unsigned>(sets.dim(0))),
                 dim3(kTensorThreads), static_cast<std::size_t>(grads.groups) * kGroupBytes<W, V>, current_stream(),
                 args, ups.view<const float, 4>(), grads);
        });
      });
}

}  // namespace subquad::kernels::cuda
