// What attention's tensor-core kernels share. Each warp owns 16 rows (or twice 16) of queries, in half of the gradient
// of keys; the block walks over the other side in tiles of 32 rows, which lie in shared memory as float32 and are
// turned into fragments where they are used. Feature and value widths are both padded with zeros to W.
//
// One tile serves both kinds of product, whose fragments lie across each other:
//   multiply_rows     logits [16][32] = own rows [16][W] x tile^T          a lane reads 4 features of one row
//   multiply_columns  sums [16][W] += weights [16][32] x tile [32][W]      a lane reads 4 features of 4 rows
// The weights stay in the registers in which multiply_rows and the softmax left them: lane 4 g + t holds columns 2t,
// 2t + 1 of every 8, which are also the rows of the tile that the second product wants from it.
//
// Both read 16 bytes at a time, and the rows are W + 4 numbers apart, so that the 8 lanes of a quarter warp meet all 32
// banks: multiply_rows because lane t starts at feature 8t of every 32, multiply_columns because lane g does at 4g.
#pragma once

#include "subquad/kernels/attention/cuda_arithmetic.cuh"
#include "subquad/kernels/attention/cuda_sight.cuh"
#include "subquad/kernels/attention/cuda_tensor_core.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kTensorWarps = 4, kTensorThreads = kTensorWarps * kWarp;
inline constexpr int kFragmentRows = 16;
inline constexpr int kTileColumns = kTileRows / 8;  // fragments that cover the rows of a tile, as columns of logits

template <int W>
inline constexpr int kPitch = W + 4;
template <int W>
inline constexpr int kTileSize = kTileRows* kPitch<W>;

// A lane's place in fragments.
struct Lane {
  int g = static_cast<int>(threadIdx.x) % kWarp / 4, t = static_cast<int>(threadIdx.x) % 4;

  // Upper (half 0) or lower row of the m-th fragment of a warp that has `fragments` of them.
  __device__ int row(int block_first, int fragments, int m, int half) const {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    return block_first + (warp * fragments + m) * kFragmentRows + g + 8 * half;
  }
};

// How rows of a tensor are read: `packed` rows start on 16 bytes and are as wide as a multiple of 4.
struct RowFormat {
  int width;
  bool packed;
};

// May all rows of these [B, H, N, width] be moved in packs of four?
template <class... Tensors>
bool rows_are_packed(const Tensors&... tensors) {
  const auto packed = [](const Tensor& t) {
    return t.dim(3) % 4 == 0 && can_pack<4>(t.data<float>(), t.strides()[0]) && t.strides()[1] % 4 == 0 &&
           t.strides()[2] % 4 == 0;
  };
  return (packed(tensors) && ...);
}

// row[column ... column + 3]; zeros behind the last one, and for a null row.
__device__ inline Four load_four(const float* row, int column, RowFormat format) {
  if (format.packed && row != nullptr && column < format.width) return load_pack<4>(row + column);
  Four x{};
  if (!format.packed && row != nullptr)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (column + i < format.width) x.at[i] = row[column + i];
  return x;
}
__device__ inline void store_four(float* row, int column, RowFormat format, const Four& x) {
  if (format.packed && column < format.width) store_pack(row + column, x);
  if (!format.packed)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (column + i < format.width) row[column + i] = x.at[i];
}

// Starts copying 32 rows from number `first` on to tile [32][pitch], neighbouring threads along the features; zeros
// where a row's bit is 0 and behind the last feature. Nothing happens where all bits are 0: there is no such tile.
template <int W>
__device__ void copy_rows(HeadRows<const float> from, int first, unsigned bits, RowFormat format, float* tile) {
  if (bits == 0) return;
  const int step = format.packed ? 4 : 1, steps = W / step;
  for (int x = static_cast<int>(threadIdx.x); x < kTileRows * steps; x += kTensorThreads) {
    const int r = x / steps, c = x % steps * step;
    const bool valid = (bits >> r & 1) != 0 && c < format.width;
    const float* source = valid ? from.row(first + r) + c : from.data;
    float* const to = tile + r * kPitch<W> + c;
    if (format.packed)
      copy_async_16(to, source, valid);
    else
      copy_async_4(to, source, valid);
  }
}

// The left factor of logits: 16 rows of a warp, as fragments. They stay in registers if kInRegisters; else they are
// read from global memory (most likely from L1) for every tile.
template <class Product, int W, bool kInRegisters>
class OwnRows {
 public:
  // Rows g and g + 8 of the lane's fragment; null ones are zeros.
  __device__ void set(const float* upper, const float* lower, RowFormat format, float scale) {
    upper_ = upper;
    lower_ = lower;
    format_ = format;
    scale_ = scale;
    if constexpr (kInRegisters)
#pragma unroll
      for (int step = 0; step < W / 16; ++step) kept_[step] = load(step);
  }

  __device__ typename Product::Left left(int step) const {
    if constexpr (kInRegisters)
      return Product::left(kept_[step]);
    else
      return Product::left(load(step));
  }

  // First of the lane's four features in a product that is 16 deep: two such products share 32 features.
  static __device__ int column(int step) {
    return step / 2 * 32 + 8 * Lane().t + step % 2 * 4;
  }

 private:
  __device__ typename Product::Kept load(int step) const {
    Four upper = load_four(upper_, column(step), format_), lower = load_four(lower_, column(step), format_);
#pragma unroll
    for (float& x : upper.at) x *= scale_;
#pragma unroll
    for (float& x : lower.at) x *= scale_;
    return Product::keep(upper, lower);
  }

  const float *upper_, *lower_;
  RowFormat format_;
  float scale_;
  typename Product::Kept kept_[kInRegisters ? W / 16 : 1];
};

template <int kTiles>
using Logits = float[kTiles][kTileColumns][4];
template <int kTiles, int W>
using Sums = float[kTiles][W / 8][4];

// logits = own rows x scale tile^T
template <class Product, Queries kQueries, int W, int kTiles, bool kInRegisters>
__device__ void multiply_rows(Logits<kTiles>& logits, const OwnRows<Product, W, kInRegisters> (&own)[kTiles],
                              const float* tile, float scale) {
  const Lane lane;
#pragma unroll
  for (auto& rows : logits)
#pragma unroll
    for (auto& fragment : rows)
#pragma unroll
      for (float& x : fragment) x = 0;
#pragma unroll(kInRegisters ? W / 16 : 1)  // registers have no index
  for (int step = 0; step < W / 16; ++step) {
    typename Product::Left a[kTiles];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) a[m] = own[m].left(step);
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n) {
      Four x = load_pack<4>(tile + (8 * n + lane.g) * kPitch<W> + own[0].column(step));
#pragma unroll
      for (float& value : x.at) value *= scale;
      const typename Product::Right b = Product::right(x);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) Product::template multiply<kQueries>(logits[m][n], a[m], b);
    }
  }
}

// sums += weights x tile. Column c of fragment 4 a + i of the sums is column 32 a + 4 c + i of the tile.
template <class Product, int W, int kTiles>
__device__ void multiply_columns(Sums<kTiles, W>& sums, const Logits<kTiles>& weights, const float* tile) {
  const Lane lane;
#pragma unroll
  for (int n = 0; n < kTileColumns; n += 2) {
    typename Product::Left a[kTiles];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      const float(&first)[4] = weights[m][n], (&second)[4] = weights[m][n + 1];
      a[m] = Product::left(
          Product::keep({{first[0], first[1], second[0], second[1]}}, {{first[2], first[3], second[2], second[3]}}));
    }
#pragma unroll
    for (int column = 0; column < W; column += 32) {
      const float* const from = tile + (8 * n + 2 * lane.t) * kPitch<W> + column + 4 * lane.g;
      const Four x[4] = {load_pack<4>(from), load_pack<4>(from + kPitch<W>), load_pack<4>(from + 8 * kPitch<W>),
                         load_pack<4>(from + 9 * kPitch<W>)};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const typename Product::Right b = Product::right({{x[0].at[i], x[1].at[i], x[2].at[i], x[3].at[i]}});
#pragma unroll
        for (int m = 0; m < kTiles; ++m) Product::accumulate(sums[m][column / 8 + i], a[m], b);
      }
    }
  }
}

// row[:] = scale * the lane's upper (half 0) or lower (half 1) row of sums: 8 neighbours per lane, 32 per four lanes.
template <int W>
__device__ void store_sums(float* row, const float (&sums)[W / 8][4], int half, float scale, RowFormat format) {
  const Lane lane;
#pragma unroll
  for (int column = 0; column < W; column += 32)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      Four x;
#pragma unroll
      for (int i = 0; i < 4; ++i) x.at[i] = scale * sums[column / 8 + i][2 * half + c];
      store_four(row, column + 8 * lane.t + 4 * c, format, x);
    }
}

// Sets to `value` what a lane holds of its upper (half 0) or lower row of logits where the column's bit is 0.
__device__ inline void hide(float (&logits)[kTileColumns][4], int half, unsigned bits, float value) {
  if (bits == kAllBits) return;
  bits >>= 2 * Lane().t;
#pragma unroll
  for (int n = 0; n < kTileColumns; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c)
      if ((bits >> (8 * n + c) & 1) == 0) logits[n][2 * half + c] = value;
}

// Calls f with the smallest compiled width that holds both.
template <class F>
void visit_width(Index width, Index value_width, F&& f) {
  const Index wider = std::max(width, value_width);
  if (wider <= 32) return f(std::integral_constant<int, 32>{});
  if (wider <= 64) return f(std::integral_constant<int, 64>{});
  return f(std::integral_constant<int, kMaxTensorCoreWidth>{});
}

}  // namespace subquad::kernels::cuda
