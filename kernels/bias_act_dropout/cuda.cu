#include "subquad/kernels/bias_act_dropout/cuda.h"

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/dropout/keep.cuh"
#include "subquad/kernels/warp/gelu.cuh"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kQuad = 4;  // features that one Philox block serves, and that one thread takes

// How x [B, P, D], as B P rows of D, is cut: a block takes a chunk of rows by a tile of `across` quads of features. A
// function of the shape alone, so that dbias has the same bits on every device.
struct Cut {
  Index rows, positions, width;
  Index tiles;           // along a row
  Index rows_per_chunk;  // of which each of the block's kThreads / across lines takes every line-th
  int across;

  Index chunks() const { return (rows + rows_per_chunk - 1) / rows_per_chunk; }
  dim3 block() const { return dim3(static_cast<unsigned>(across), static_cast<unsigned>(kThreads / across)); }
};

Cut cut(Index rows, Index positions, Index width) {
  constexpr Index kMostBlocks = 2048;  // a few waves of a large device
  const Index quads = (width + kQuad - 1) / kQuad;
  int across = 1;
  while (across < 32 && across < quads) across *= 2;
  const Index tiles = std::max<Index>((quads + across - 1) / across, 1);
  const Index most_chunks = std::max<Index>(kMostBlocks / tiles, 1);
  const Index fewest_rows = 4 * kThreads / across;  // four for each thread
  return {rows, positions, width, tiles, std::max(fewest_rows, (rows + most_chunks - 1) / most_chunks), across};
}

Cut cut(const Tensor& x) {
  const Index rows = x.size() / x.dim(-1);
  return cut(rows, x.rank() > 1 ? rows / x.dim(0) : rows, x.dim(-1));
}

// What is drawn, if anything is.
struct Dropout {
  bool active = false;
  KeepKey key = {};

  Dropout(double p, const RandomState& rng) : active(p > 0) {
    if (active) key = keep_key(p, rng);
  }
};

// A quad of features, of which only the first `count` exist. Packed: all four, 4 sizeof(T) bytes at once.
template <bool Packed, class T>
__device__ Pack<T, kQuad> load_quad(const T* from, Index count) {
  if constexpr (Packed) {
    return load_pack<kQuad>(from);
  } else {
    Pack<T, kQuad> quad = {};
    for (int i = 0; i < kQuad; ++i)
      if (i < count) quad.at[i] = from[i];
    return quad;
  }
}
template <bool Packed, class T>
__device__ void store_quad(T* to, const Pack<T, kQuad>& quad, Index count) {
  if constexpr (Packed) {
    store_pack(to, quad);
  } else {
    for (int i = 0; i < kQuad; ++i)
      if (i < count) to[i] = quad.at[i];
  }
}

// The bias of a quad; where there is none -0, the number that changes nothing it is added to.
template <bool Packed, class T>
__device__ Pack<T, kQuad> load_bias(const T* bias, Index feature, Index count) {
  if (bias != nullptr) return load_quad<Packed>(bias + feature, count);
  Pack<T, kQuad> none;
  for (int i = 0; i < kQuad; ++i) none.at[i] = T(-0.0);
  return none;
}

template <class T>
__device__ T activate(Activation activation, T z) {
  if (activation == Activation::gelu) return z * normal_cdf(z);
  if (activation == Activation::relu) return z < 0 ? T(0) : z;
  return z;
}

template <class T>
__device__ T slope(Activation activation, T z) {
  if (activation == Activation::gelu) return gelu(z).slope;
  return z > 0 ? T(1) : T(0);
}

// Calls f(first element, factors) for each row of this thread's quad.
template <class T, class F>
__device__ void for_my_rows(const Cut& c, const Dropout& dropout, Index chunk, Index quad, const F& f) {
  const Index begin = chunk * c.rows_per_chunk;
  const Index end = begin + c.rows_per_chunk < c.rows ? begin + c.rows_per_chunk : c.rows;
  Index row = begin + threadIdx.y, sample = row / c.positions, position = row % c.positions;
  for (; row < end; row += blockDim.y) {
    Pack<T, kQuad> factors = {1, 1, 1, 1};
    if (dropout.active) factors = keep_factors<T>(dropout.key, sample, position, quad);
    f(row * c.width + kQuad * quad, factors);
    position += blockDim.y;
    if (position >= c.positions) {  // seldom, where a sample has many positions: divisions are slow
      sample += position / c.positions;
      position %= c.positions;
    }
  }
}

// Block (chunk, tile), thread (quad of the tile, line): neighbouring threads have neighbouring quads of a row, and each
// keeps its quad's bias in registers while it goes down the rows of the chunk.
template <class T, bool Packed>
__global__ void bias_act_dropout_quads(const T* x, const T* bias, Activation activation, Dropout dropout, Cut c,
                                       const T* residual, T* out) {
  const Index chunk = blockIdx.x / c.tiles, quad = blockIdx.x % c.tiles * c.across + threadIdx.x;
  const Index count = c.width - kQuad * quad;
  if (count <= 0) return;
  const Pack<T, kQuad> shift = load_bias<Packed>(bias, kQuad * quad, count);
  for_my_rows<T>(c, dropout, chunk, quad, [&](Index first, const Pack<T, kQuad>& factors) {
    Pack<T, kQuad> z = load_quad<Packed>(x + first, count);
    for (int i = 0; i < kQuad; ++i) z.at[i] = activate(activation, z.at[i] + shift.at[i]) * factors.at[i];
    if (residual != nullptr) {
      const Pack<T, kQuad> more = load_quad<Packed>(residual + first, count);
      for (int i = 0; i < kQuad; ++i) z.at[i] += more.at[i];
    }
    store_quad<Packed>(out + first, z, count);
  });
}

// The same walk. Each thread adds up dx of its quad in registers; the lines of the block are then added in order,
// through shared memory [lines][across]. `partials` is null without a bias.
template <class T, bool Packed>
__global__ void bias_act_dropout_grad_quads(const T* dout, const T* x, const T* bias, Activation activation,
                                            Dropout dropout, Cut c, T* dx, T* partials) {
  const Index chunk = blockIdx.x / c.tiles, quad = blockIdx.x % c.tiles * c.across + threadIdx.x;
  const Index count = c.width - kQuad * quad;
  Pack<T, kQuad> sum = {};
  if (count > 0) {
    const Pack<T, kQuad> shift = load_bias<Packed>(bias, kQuad * quad, count);
    for_my_rows<T>(c, dropout, chunk, quad, [&](Index first, const Pack<T, kQuad>& factors) {
      Pack<T, kQuad> dz = load_quad<Packed>(dout + first, count);
      for (int i = 0; i < kQuad; ++i) dz.at[i] *= factors.at[i];
      if (activation != Activation::none) {
        const Pack<T, kQuad> in = load_quad<Packed>(x + first, count);
        for (int i = 0; i < kQuad; ++i) dz.at[i] *= slope(activation, in.at[i] + shift.at[i]);
      }
      store_quad<Packed>(dx + first, dz, count);
      for (int i = 0; i < kQuad; ++i) sum.at[i] += dz.at[i];
    });
  }
  if (partials == nullptr) return;
  SharedMemory shared;
  T* const sums = shared.take<T>(kThreads * kQuad);
  T* const mine = sums + (threadIdx.y * blockDim.x + threadIdx.x) * kQuad;
  for (int i = 0; i < kQuad; ++i) mine[i] = sum.at[i];
  __syncthreads();
  if (threadIdx.y > 0 || count <= 0) return;
  for (unsigned line = 1; line < blockDim.y; ++line)
    for (int i = 0; i < kQuad; ++i) sum.at[i] += mine[line * blockDim.x * kQuad + static_cast<unsigned>(i)];
  store_quad<Packed>(partials + chunk * c.width + kQuad * quad, sum, count);
}

// float64 is there for gradient checks and always moves element by element.
template <class T, class... Tensors>
bool quads_can_pack(Index width, const Tensors&... tensors) {
  return std::is_same_v<T, float> &&
         ((!tensors.defined() || can_pack<kQuad>(tensors.template data<T>(), width)) && ...);
}

// Calls f(std::bool_constant<Packed>()).
template <class T, class F>
void with_packing(bool packed, const F& f) {
  if constexpr (std::is_same_v<T, float>)
    if (packed) return f(std::true_type());
  f(std::false_type());
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                      const Tensor& residual, Tensor& out) {
  if (x.size() == 0) return;
  const Cut c = cut(x);
  const unsigned blocks = blocks_for("bias_act_dropout", c.chunks() * c.tiles, 1);
  visit_float("bias_act_dropout", x.dtype(), [&]<class T>(Type<T>) {
    with_packing<T>(quads_can_pack<T>(c.width, x, bias, residual, out), [&]<bool Packed>(std::bool_constant<Packed>) {
      launch(bias_act_dropout_quads<T, Packed>, dim3(blocks), c.block(), 0, current_stream(), x.data<T>(),
             data_or_null<T>(bias), activation, Dropout(p, rng), c, data_or_null<T>(residual), out.data<T>());
    });
  });
}

Index bias_act_dropout_chunks(Index rows, Index width) {
  return cut(rows, 1, width).chunks();
}

void bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                           const RandomState& rng, Tensor& dx, Tensor& partial) {
  if (x.size() == 0) return;
  const Cut c = cut(x);
  const unsigned blocks = blocks_for("bias_act_dropout_grad", c.chunks() * c.tiles, 1);
  visit_float("bias_act_dropout_grad", x.dtype(), [&]<class T>(Type<T>) {
    const bool packed = quads_can_pack<T>(c.width, dout, x, bias, dx, partial);
    with_packing<T>(packed, [&]<bool Packed>(std::bool_constant<Packed>) {
      launch(bias_act_dropout_grad_quads<T, Packed>, dim3(blocks), c.block(), shared_size<T>(kThreads * kQuad),
             current_stream(), dout.data<T>(), x.data<T>(), data_or_null<T>(bias), activation, Dropout(p, rng), c,
             dx.data<T>(), bias.defined() ? partial.data<T>() : nullptr);
    });
  });
}

}  // namespace subquad::kernels::cuda
