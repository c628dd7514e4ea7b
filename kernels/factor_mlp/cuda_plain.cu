#include "subquad/kernels/factor_mlp/cuda_plain.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/gelu.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kSide = 16, kThreads = kSide * kSide;
constexpr int kRows = 64, kHidden = 32;  // of a block at a time
constexpr int kColumns = 64;             // results of a block
constexpr int kDepth = 16;
constexpr int kLeftPitch = kDepth + 1, kRightPitch = kColumns + 1, kTilePitch = kHidden + 1;

// Sums of a thread, a [kRows][kWide] of its block: row ty + 16 i, column tx + 16 j.
template <class T, int kWide>
struct Sums {
  T at[kRows / kSide][kWide / kSide] = {};

  template <class F>
  __device__ void each(const F& f) {
    const int tx = static_cast<int>(threadIdx.x) % kSide, ty = static_cast<int>(threadIdx.x) / kSide;
#pragma unroll
    for (int i = 0; i < kRows / kSide; ++i)
#pragma unroll
      for (int j = 0; j < kWide / kSide; ++j) f(ty + kSide * i, tx + kSide * j, at[i][j]);
  }
};

// Shared memory of a block.
template <class T>
struct Block {
  T *left, *right, *tile;

  __device__ explicit Block(SharedMemory shared)
      : left(shared.take<T>(kRows * kLeftPitch)),
        right(shared.take<T>(kDepth * kRightPitch)),
        tile(shared.take<T>(kRows * kTilePitch)) {}

  static constexpr std::size_t kBytes =
      shared_size<T>(kRows * kLeftPitch) + shared_size<T>(kDepth * kRightPitch) + shared_size<T>(kRows * kTilePitch);

  // sums += left(row, d) right(d, column) for d = 0 ... depth - 1, in this order. All threads of the block call; what
  // they wrote into shared memory before is seen by left and right.
  template <int kWide, class Left, class Right>
  __device__ void multiply(Sums<T, kWide>& sums, Index depth, const Left& left_at, const Right& right_at) const {
    const int thread = static_cast<int>(threadIdx.x), tx = thread % kSide, ty = thread / kSide;
    for (Index start = 0; start < depth; start += kDepth) {
      __syncthreads();
      const int deep = depth - start < kDepth ? static_cast<int>(depth - start) : kDepth;
      for (int e = thread; e < kRows * kDepth; e += kThreads) {
        const int r = e / kDepth, d = e % kDepth;
        if (d < deep) left[r * kLeftPitch + d] = left_at(r, start + d);
      }
      for (int e = thread; e < deep * kWide; e += kThreads)
        right[e / kWide * kRightPitch + e % kWide] = right_at(start + e / kWide, e % kWide);
      __syncthreads();
      for (int d = 0; d < deep; ++d) {
        T a[kRows / kSide];
#pragma unroll
        for (int i = 0; i < kRows / kSide; ++i) a[i] = left[(ty + kSide * i) * kLeftPitch + d];
#pragma unroll
        for (int j = 0; j < kWide / kSide; ++j) {
          const T b = right[d * kRightPitch + tx + kSide * j];
#pragma unroll
          for (int i = 0; i < kRows / kSide; ++i) sums.at[i][j] += a[i] * b;
        }
      }
    }
  }
};

template <class T>
struct Mlp {
  MlpSizes s;
  const T *x, *first, *first_bias, *second, *second_bias;
  const bool* real;  // [rows], or null

  __device__ bool is_real(Index row) const { return row < s.rows && (real == nullptr || real[row]); }

  // x [row, d], 0 where there is no such row.
  __device__ T input(Index row, Index d) const { return is_real(row) ? x[row * s.inputs + d] : T(0); }
  __device__ T upstream(const T* dout, Index m, Index row, Index o) const {
    return is_real(row) ? dout[(m * s.rows + row) * s.outputs + o] : T(0);
  }
};

// z of rows from `row` on and hidden values from h on; 0 behind the last of these.
template <class T>
__device__ Sums<T, kHidden> hidden_sums(const Mlp<T>& mlp, const Block<T>& block, Index m, Index row, Index h) {
  Sums<T, kHidden> z;
  z.each([&](int, int c, T& sum) {
    if (h + c < mlp.s.hidden) sum = mlp.first_bias[m * mlp.s.hidden + h + c];
  });
  block.multiply(
      z, mlp.s.inputs, [&](int r, Index d) { return mlp.input(row + r, d); },
      [&](Index d, int c) {
        return h + c < mlp.s.hidden ? mlp.first[(m * mlp.s.inputs + d) * mlp.s.hidden + h + c] : T(0);
      });
  return z;
}

// The block's tile becomes dz = dout C^T gelu'(z).
template <class T>
__device__ void hidden_gradients(const Mlp<T>& mlp, const Block<T>& block, const T* dout, Index m, Index row, Index h) {
  Sums<T, kHidden> z = hidden_sums(mlp, block, m, row, h), dr;
  block.multiply(
      dr, mlp.s.outputs, [&](int r, Index o) { return mlp.upstream(dout, m, row + r, o); },
      [&](Index o, int c) {
        return h + c < mlp.s.hidden ? mlp.second[(m * mlp.s.hidden + h + c) * mlp.s.outputs + o] : T(0);
      });
#pragma unroll
  for (int i = 0; i < kRows / kSide; ++i)
#pragma unroll
    for (int j = 0; j < kHidden / kSide; ++j) dr.at[i][j] *= gelu(z.at[i][j]).slope;
  dr.each([&](int r, int c, T value) { block.tile[r * kTilePitch + c] = mlp.is_real(row + r) ? value : T(0); });
}

// The block's tile becomes gelu(z).
template <class T>
__device__ void hidden_values(const Mlp<T>& mlp, const Block<T>& block, Index m, Index row, Index h) {
  hidden_sums(mlp, block, m, row, h).each([&](int r, int c, T z) {
    block.tile[r * kTilePitch + c] = mlp.is_real(row + r) ? gelu(z).value : T(0);
  });
}

// Block (tile of 64 rows, perceptron, 64 outputs), a 16 x 16 of threads: 32 hidden values of all rows at a time go
// through shared memory into the sums, which stay in registers.
template <class T>
__global__ void factor_mlp_plain_rows(Mlp<T> mlp, T* out) {
  const Block<T> block{SharedMemory()};
  const MlpSizes& s = mlp.s;
  const Index row = Index{blockIdx.x} * kRows, m = blockIdx.y, first = Index{blockIdx.z} * kColumns;
  Sums<T, kColumns> sums;
  for (Index h = 0; h < s.hidden; h += kHidden) {
    hidden_values(mlp, block, m, row, h);
    block.multiply(
        sums, s.hidden - h < kHidden ? s.hidden - h : kHidden,
        [&](int r, Index d) { return block.tile[r * kTilePitch + d]; },
        [&](Index d, int c) {
          return first + c < s.outputs ? mlp.second[(m * s.hidden + h + d) * s.outputs + first + c] : T(0);
        });
  }
  sums.each([&](int r, int c, T sum) {
    const Index o = first + c;
    if (row + r >= s.rows || o >= s.outputs) return;
    out[(m * s.rows + row + r) * s.outputs + o] =
        mlp.is_real(row + r) ? sum + mlp.second_bias[m * s.outputs + o] : T(0);
  });
}

// Block (tile of 64 rows, 64 inputs): all perceptrons one after the other, as above.
template <class T>
__global__ void factor_mlp_plain_dx_rows(Mlp<T> mlp, const T* dout, T* dx) {
  const Block<T> block{SharedMemory()};
  const MlpSizes& s = mlp.s;
  const Index row = Index{blockIdx.x} * kRows, first = Index{blockIdx.y} * kColumns;
  Sums<T, kColumns> sums;
  for (Index m = 0; m < s.factors; ++m)
    for (Index h = 0; h < s.hidden; h += kHidden) {
      hidden_gradients(mlp, block, dout, m, row, h);
      block.multiply(
          sums, s.hidden - h < kHidden ? s.hidden - h : kHidden,
          [&](int r, Index d) { return block.tile[r * kTilePitch + d]; },
          [&](Index d, int c) {
            return first + c < s.inputs ? mlp.first[(m * s.inputs + first + c) * s.hidden + h + d] : T(0);
          });
    }
  sums.each([&](int r, int c, T sum) {
    if (row + r < s.rows && first + c < s.inputs) dx[(row + r) * s.inputs + first + c] = sum;
  });
}

// Where the gradients of the parameters of a chunk go.
template <class T>
struct Grads {
  GradSet set;
  T* sets;
  Index rows_of_chunk;
};

// Block (perceptron and 32 of its hidden values, chunk of rows, 64 inputs or, behind those, 64 outputs): owns their
// dA or dC, whose sums over the rows stay in registers, and da or, with the first hidden values, dc.
template <class T>
__global__ void factor_mlp_plain_grad_chunks(Mlp<T> mlp, const T* dout, Grads<T> grads) {
  const Block<T> block{SharedMemory()};
  const MlpSizes& s = mlp.s;
  const Index hidden_tiles = (s.hidden + kHidden - 1) / kHidden, input_tiles = (s.inputs + kColumns - 1) / kColumns;
  const Index m = blockIdx.x / hidden_tiles, h = blockIdx.x % hidden_tiles * kHidden;
  const bool of_first = blockIdx.z < input_tiles;
  const Index column = (blockIdx.z - (of_first ? 0 : input_tiles)) * kColumns;
  const Index begin = blockIdx.y * grads.rows_of_chunk;
  const Index end = begin + grads.rows_of_chunk < s.rows ? begin + grads.rows_of_chunk : s.rows;
  const int thread = static_cast<int>(threadIdx.x);
  Sums<T, kHidden> sums;  // [64 inputs or outputs][32 hidden values]
  T bias = 0;             // of hidden value or output `thread`
  for (Index row = begin; row < end; row += kRows) {
    const Index deep = end - row < kRows ? end - row : kRows;
    if (of_first)
      hidden_gradients(mlp, block, dout, m, row, h);
    else
      hidden_values(mlp, block, m, row, h);
    block.multiply(
        sums, deep,
        [&](int r, Index d) {
          if (of_first) return column + r < s.inputs ? mlp.input(row + d, column + r) : T(0);
          return column + r < s.outputs ? mlp.upstream(dout, m, row + d, column + r) : T(0);
        },
        [&](Index d, int c) { return block.tile[d * kTilePitch + c]; });
    if (of_first && column == 0 && thread < kHidden)
      for (Index d = 0; d < deep; ++d) bias += block.tile[d * kTilePitch + thread];
    if (!of_first && h == 0 && thread < kColumns && column + thread < s.outputs)
      for (Index d = 0; d < deep; ++d) bias += mlp.upstream(dout, m, row + d, column + thread);
  }
  T* const to = grads.sets + blockIdx.y * grads.set.size;
  sums.each([&](int r, int c, T sum) {
    const Index at = column + r, hidden = h + c;
    if (hidden >= s.hidden || at >= (of_first ? s.inputs : s.outputs)) return;
    if (of_first)
      to[grads.set.first + (m * s.inputs + at) * s.hidden + hidden] = sum;
    else
      to[grads.set.second + (m * s.hidden + hidden) * s.outputs + at] = sum;
  });
  if (of_first && column == 0 && thread < kHidden && h + thread < s.hidden)
    to[grads.set.first_bias + m * s.hidden + h + thread] = bias;
  if (!of_first && h == 0 && thread < kColumns && column + thread < s.outputs)
    to[grads.set.second_bias + m * s.outputs + column + thread] = bias;
}

template <class T>
Mlp<T> arguments(const Tensor& x, const FactorMlp& mlp, const Mask& mask) {
  return {MlpSizes(x, mlp),
          x.data<T>(),
          mlp.first.data<T>(),
          mlp.first_bias.data<T>(),
          mlp.second.data<T>(),
          mlp.second_bias.data<T>(),
          mask.defined() ? mask.real.data<bool>() : nullptr};
}

unsigned tiles(Index items, int per_tile) {
  return blocks_for("factor_mlp", items, per_tile);
}

}  // namespace

void factor_mlp_plain(const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& out) {
  const MlpSizes s(x, mlp);
  const dim3 grid(tiles(s.rows, kRows), static_cast<unsigned>(s.factors), tiles(s.outputs, kColumns));
  visit_float("factor_mlp", x.dtype(), [&]<class T>(Type<T>) {
    launch(factor_mlp_plain_rows<T>, grid, dim3(kThreads), Block<T>::kBytes, current_stream(),
           arguments<T>(x, mlp, mask), out.data<T>());
  });
}

void factor_mlp_plain_dx(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx) {
  const MlpSizes s(x, mlp);
  visit_float("factor_mlp_grad", x.dtype(), [&]<class T>(Type<T>) {
    launch(factor_mlp_plain_dx_rows<T>, dim3(tiles(s.rows, kRows), tiles(s.inputs, kColumns)), dim3(kThreads),
           Block<T>::kBytes, current_stream(), arguments<T>(x, mlp, mask), dout.data<T>(), dx.data<T>());
  });
}

namespace {

dim3 grad_grid(const MlpSizes& s) {
  return dim3(static_cast<unsigned>(s.factors) * tiles(s.hidden, kHidden), 1,
              tiles(s.inputs, kColumns) + tiles(s.outputs, kColumns));
}

}  // namespace

RowChunks factor_mlp_plain_chunks(const Tensor& x, const FactorMlp& mlp) {
  const MlpSizes s(x, mlp);
  const dim3 grid = grad_grid(s);
  return {s, Index{grid.x} * grid.z, static_cast<std::size_t>(GradSet(s).size) * dtype_bytes(x.dtype())};
}

void factor_mlp_plain_grads(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& sets) {
  const MlpSizes s(x, mlp);
  dim3 grid = grad_grid(s);
  grid.y = static_cast<unsigned>(sets.dim(0));
  visit_float("factor_mlp_grad", x.dtype(), [&]<class T>(Type<T>) {
    launch(factor_mlp_plain_grad_chunks<T>, grid, dim3(kThreads), Block<T>::kBytes, current_stream(),
           arguments<T>(x, mlp, mask), dout.data<T>(),
           Grads<T>{GradSet(s), sets.data<T>(), factor_mlp_plain_chunks(x, mlp).rows});
  });
}

}  // namespace subquad::kernels::cuda
