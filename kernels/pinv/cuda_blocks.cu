#include "subquad/kernels/pinv/cuda_blocks.cuh"

#include "subquad/kernels/attention/cuda_arithmetic.cuh"

// A block owns a matrix through all steps, which are products that wait for each other: what counts is
// how long one takes. Matrices lie in shared memory, padded with zeros to kSize rows; each warp has a tile of the
// result in registers, and what is left of a line of the iteration ("a I - X Y") happens to them before they are
// stored. Every number is split into two TF32 parts (cuda_arithmetic.cuh), whatever precision() is: the iteration
// multiplies what rounding adds outside of A's range by 3.25 in each step. A and dout are read once, Z_t written (in
// backward read) once.
//
// Few matrices leave most of a large device idle, and one block each is still right, by counting (not measured): a
// product of 64 rows is 1.6 Mflop of TF32, 1 to 2 us for one multiprocessor, and all of it is needed by the next one.
// Parts of it in several blocks would meet in memory, by a launch of 2 us and more, 24 times forward and 66 times
// backward. At 128 rows a product takes 6 to 8 us; cuBLAS, which spreads it, has 6 launches of 3 to 5 us where this has
// 4 products, so it takes as long and keeps the device from what runs beside it.
namespace subquad::kernels::cuda {
namespace {

template <int kSize>
struct Layout {
  static constexpr int kPitch = kSize + 4;  // lanes that read a fragment of rows hit different banks
  static constexpr int kMatrix = kSize * kPitch;
  static constexpr int kWarps = kSize <= 64 ? 8 : 16, kThreads = kWarps * kWarp;
  static constexpr int kWarpColumns = kSize <= 32 ? 4 : 2, kWarpRows = kWarps / kWarpColumns;
  static constexpr int kRowTiles = kSize / 16 / kWarpRows, kColumnTiles = kSize / 8 / kWarpColumns;
  static constexpr bool kKeepsA = kSize <= 64;  // in shared memory, beside three others
};

// Factors of a product: a matrix in shared memory, one in global memory without padding, or the transpose of either.
template <int kSize>
struct Plain {
  const float* data;
  __device__ float operator()(int r, int c) const { return data[r * Layout<kSize>::kPitch + c]; }
};
struct Unpadded {
  const float* data;
  int size;
  __device__ float operator()(int r, int c) const { return r < size && c < size ? data[r * size + c] : 0.0f; }
};
template <class Matrix>
struct Transposed {
  Matrix matrix;
  __device__ float operator()(int r, int c) const { return matrix(c, r); }
};
template <class Matrix>
__device__ Transposed<Matrix> transposed(const Matrix& matrix) {
  return {matrix};
}

// A warp's tile of a [kSize, kSize] result.
template <int kSize>
class Tile {
  using L = Layout<kSize>;

 public:
  // += left right
  template <class Left, class Right>
  __device__ void add(const Left& left, const Right& right) {
#pragma unroll 1
    for (int k = t_; k < kSize; k += 16) {
      Fp32Product::Left a[L::kRowTiles];
#pragma unroll
      for (int m = 0; m < L::kRowTiles; ++m) {
        Four upper, lower;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          upper.at[i] = left(row(m), k + 4 * i);
          lower.at[i] = left(row(m) + 8, k + 4 * i);
        }
        a[m] = Fp32Product::left(Fp32Product::keep(upper, lower));
      }
#pragma unroll
      for (int n = 0; n < L::kColumnTiles; ++n) {
        Four column;
#pragma unroll
        for (int i = 0; i < 4; ++i) column.at[i] = right(k + 4 * i, first_column(n) + g_);
        const Fp32Product::Right b = Fp32Product::right(column);
#pragma unroll
        for (int m = 0; m < L::kRowTiles; ++m) Fp32Product::accumulate(sums_[m][n], a[m], b);
      }
    }
  }

  // f(row, column, sum) for every number of this lane.
  template <class F>
  __device__ void each(const F& f) const {
#pragma unroll
    for (int m = 0; m < L::kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < L::kColumnTiles; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) f(row(m) + e / 2 * 8, first_column(n) + 2 * t_ + e % 2, sums_[m][n][e]);
  }

  // to[r][c] = f(r, c, sum). The block's threads meet before, so that `to` may be a factor, and after.
  template <class F>
  __device__ void store(float* to, const F& f) const {
    __syncthreads();
    each([&](int r, int c, float sum) { to[r * L::kPitch + c] = f(r, c, sum); });
    __syncthreads();
  }

 private:
  __device__ int row(int m) const {
    return (warp_ / L::kWarpColumns * L::kRowTiles + m) * 16 + g_;
  }
  __device__ int first_column(int n) const {
    return (warp_ % L::kWarpColumns * L::kColumnTiles + n) * 8;
  }

  int warp_ = static_cast<int>(threadIdx.x) / kWarp;
  int g_ = static_cast<int>(threadIdx.x) % kWarp / 4, t_ = static_cast<int>(threadIdx.x) % 4;
  float sums_[L::kRowTiles][L::kColumnTiles][4] = {};
};

// to [kSize][pitch] = from [size][size], zeros around it.
template <int kSize>
__device__ void load_matrix(const float* from, int size, float* to) {
  for (int x = static_cast<int>(threadIdx.x); x < kSize * kSize; x += Layout<kSize>::kThreads) {
    const int r = x / kSize, c = x % kSize;
    to[r * Layout<kSize>::kPitch + c] = r < size && c < size ? from[r * size + c] : 0.0f;
  }
}

// The other way; neighbouring threads write neighbours.
template <int kSize>
__device__ void store_matrix(const float* from, int size, float* to) {
  for (int x = static_cast<int>(threadIdx.x); x < kSize * kSize; x += Layout<kSize>::kThreads) {
    const int r = x / kSize, c = x % kSize;
    if (r < size && c < size) to[r * size + c] = from[r * Layout<kSize>::kPitch + c];
  }
}

// x += value I, without what is padding. All threads of the block call, after a barrier.
template <int kSize>
__device__ void add_identity(float value, int size, float* x) {
  if (static_cast<int>(threadIdx.x) < size) x[threadIdx.x * (Layout<kSize>::kPitch + 1)] += value;
  __syncthreads();
}

// x = A Z, fifteen = 15 I - X (7 I - X).
template <int kSize, class A, class Z>
__device__ void first_factors(const A& a, const Z& z, int size, float* x, float* fifteen) {
  Tile<kSize> az;
  az.add(a, z);
  az.store(x, [](int, int, float sum) { return sum; });
  Tile<kSize> xx;
  xx.add(Plain<kSize>{x}, Plain<kSize>{x});
  xx.store(fifteen, [&](int r, int c, float sum) { return sum - 7 * x[r * Layout<kSize>::kPitch + c]; });
  add_identity<kSize>(15, size, fifteen);
}

// to = 13 I - X fifteen; may be `fifteen` itself.
template <int kSize>
__device__ void last_factor(const float* x, const float* fifteen, int size, float* to) {
  Tile<kSize> product;
  product.add(Plain<kSize>{x}, Plain<kSize>{fifteen});
  product.store(to, [](int, int, float sum) { return -sum; });
  add_identity<kSize>(13, size, to);
}

// `stride` elements lie between Z_t and Z_{t+1} in steps.
template <int kSize>
__global__ void __launch_bounds__(Layout<kSize>::kThreads)
    pinv_blocks(const float* matrices, PinvNorms<float> norms, int size, int iterations, Index stride, float* steps,
                float* out) {
  using L = Layout<kSize>;
  SharedMemory shared;
  float* const z = shared.take<float>(L::kMatrix);
  float* const x = shared.take<float>(L::kMatrix);
  float* const y = shared.take<float>(L::kMatrix);
  float* const kept = shared.take<float>(L::kKeepsA ? L::kMatrix : 0);
  Top<float>* const scratch = shared.take<Top<float>>(kWarp);
  const Index first = Index{blockIdx.x} * size * size;
  const float* const a = matrices + first;
  const float c = norms.coefficient(a, size, scratch);
  load_matrix<kSize>(a, size, L::kKeepsA ? kept : x);
  __syncthreads();
  const float* const loaded = L::kKeepsA ? kept : x;
  for (int i = static_cast<int>(threadIdx.x); i < kSize * kSize; i += L::kThreads) {
    const int row = i / kSize, column = i % kSize;
    const float start = c * loaded[column * L::kPitch + row];
    z[row * L::kPitch + column] = start;
    if (row < size && column < size) steps[first + row * size + column] = start;
  }
  __syncthreads();
  for (int t = 0; t < iterations; ++t) {
    if constexpr (L::kKeepsA)
      first_factors<kSize>(Plain<kSize>{kept}, Plain<kSize>{z}, size, x, y);
    else
      first_factors<kSize>(Unpadded{a, size}, Plain<kSize>{z}, size, x, y);
    last_factor<kSize>(x, y, size, y);
    Tile<kSize> next;
    next.add(Plain<kSize>{z}, Plain<kSize>{y});
    float* const to = (t + 1 == iterations ? out : steps + (t + 1) * stride) + first;
    next.store(z, [](int, int, float sum) { return 0.25f * sum; });
    store_matrix<kSize>(z, size, to);
  }
}

// The lines of cpu.cpp, with D = dZ_{t+1}, of which 1/4 is kept; (7 I - X)^T is multiplied out:
//
//   H = Z^T D      Y = X^T H      dX = 7 Y - (H fifteen^T + Y X^T + X^T Y)      dA += dX Z^T
//   dZ = D thirteen^T + A^T dX
//
// kKeepsInputs: A and Z_t are in shared memory, too; else they are read where they are, for each of three products.
template <int kSize, bool kKeepsInputs>
__global__ void __launch_bounds__(Layout<kSize>::kThreads)
    pinv_grad_blocks(const float* douts, const float* matrices, const float* steps, PinvNorms<float> norms, int size,
                     int iterations, Index stride, bool through_coefficient, float* das, float* dcs) {
  using L = Layout<kSize>;
  SharedMemory shared;
  float* const kept_a = shared.take<float>(kKeepsInputs ? L::kMatrix : 0);
  float* const kept_z = shared.take<float>(kKeepsInputs ? L::kMatrix : 0);
  float* const d = shared.take<float>(L::kMatrix);
  float* const x = shared.take<float>(L::kMatrix);
  float* const fifteen = shared.take<float>(L::kMatrix);
  float* const h = shared.take<float>(L::kMatrix);
  float* const y = shared.take<float>(L::kMatrix);
  Top<float>* const scratch = shared.take<Top<float>>(kWarp);
  float* const sums = shared.take<float>(kWarp);
  const Index first = Index{blockIdx.x} * size * size;
  float* const da = das + first;
  const auto as_it_is = [](int, int, float sum) { return sum; };
  const auto factor = [&](float* kept, const float* matrix) {
    if constexpr (kKeepsInputs)
      return Plain<kSize>{kept};
    else
      return Unpadded{matrix, size};
  };
  const auto a = factor(kept_a, matrices + first);
  if constexpr (kKeepsInputs) load_matrix<kSize>(matrices + first, size, kept_a);
  load_matrix<kSize>(douts + first, size, d);
  Tile<kSize> da_tile;
  for (int t = iterations - 1; t >= 0; --t) {
    const float* const step = steps + t * stride + first;
    const auto z = factor(kept_z, step);
    if constexpr (kKeepsInputs) load_matrix<kSize>(step, size, kept_z);
    for (int i = static_cast<int>(threadIdx.x); i < kSize * kSize; i += L::kThreads)
      d[i / kSize * L::kPitch + i % kSize] *= 0.25f;
    __syncthreads();
    first_factors<kSize>(a, z, size, x, fifteen);
    last_factor<kSize>(x, fifteen, size, y);
    {
      Tile<kSize> product;
      product.add(transposed(z), Plain<kSize>{d});
      product.store(h, as_it_is);
    }
    {
      Tile<kSize> product;
      product.add(Plain<kSize>{d}, transposed(Plain<kSize>{y}));
      product.store(d, as_it_is);  // but for A^T dX
    }
    {
      Tile<kSize> product;
      product.add(transposed(Plain<kSize>{x}), Plain<kSize>{h});
      product.store(y, as_it_is);
    }
    {
      Tile<kSize> product;
      product.add(Plain<kSize>{h}, transposed(Plain<kSize>{fifteen}));
      product.add(Plain<kSize>{y}, transposed(Plain<kSize>{x}));
      product.add(transposed(Plain<kSize>{x}), Plain<kSize>{y});
      product.store(h, [&](int r, int c, float sum) { return 7 * y[r * L::kPitch + c] - sum; });
    }
    da_tile.add(Plain<kSize>{h}, transposed(z));
    Tile<kSize> product;
    product.add(transposed(a), Plain<kSize>{h});
    product.store(d, [&](int r, int c, float sum) { return d[r * L::kPitch + c] + sum; });
  }
  da_tile.each([&](int r, int c, float sum) {
    if (r < size && c < size) da[r * size + c] = sum;
  });
  __syncthreads();
  finish_gradient<float>(d, L::kPitch, matrices + first, size, norms, through_coefficient, scratch, sums, da,
                         dcs == nullptr ? nullptr : dcs + blockIdx.x);
}

template <class F>
void visit_size(Index size, const F& f) {
  if (size <= 32) return f(std::integral_constant<int, 32>());
  if (size <= 64) return f(std::integral_constant<int, 64>());
  f(std::integral_constant<int, 128>());
}

template <int kSize>
std::size_t forward_bytes() {
  using L = Layout<kSize>;
  return (L::kKeepsA ? 4 : 3) * shared_size<float>(L::kMatrix) + shared_size<Top<float>>(kWarp);
}
template <int kSize>
std::size_t backward_bytes(bool keeps_inputs) {
  return (keeps_inputs ? 7 : 5) * shared_size<float>(Layout<kSize>::kMatrix) + shared_size<Top<float>>(kWarp) +
         shared_size<float>(kWarp);
}

bool device_has(std::size_t shared_bytes) {
  return shared_bytes <= properties(current_device()).shared_bytes_per_block;
}

}  // namespace

bool pinv_fits_block(Index rows) {
  bool fits = false;
  if (rows <= kMostInBlock)
    visit_size(rows, [&]<int kSize>(std::integral_constant<int, kSize>) { fits = device_has(forward_bytes<kSize>()); });
  return fits;
}

bool pinv_grad_fits_block(Index rows) {
  bool fits = false;
  if (rows <= kMostInBlockGrad)
    visit_size(rows,
               [&]<int kSize>(std::integral_constant<int, kSize>) { fits = device_has(backward_bytes<kSize>(false)); });
  return fits;
}

void pinv_in_blocks(const Tensor& a, const PinvNorms<float>& norms, int iterations, PinvOutput& result) {
  const Index size = a.dim(-1);
  visit_size(size, [&]<int kSize>(std::integral_constant<int, kSize>) {
    const std::size_t bytes = forward_bytes<kSize>();
    launch(pinv_blocks<kSize>, dim3(blocks_for("pinv", a.size() / (size * size), 1)), dim3(Layout<kSize>::kThreads),
           bytes, current_stream(), a.data<float>(), norms, static_cast<int>(size), iterations, a.size(),
           result.steps.data<float>(), result.out.data<float>());
  });
}

void pinv_grad_in_blocks(const Tensor& dout, const Tensor& a, const Tensor& steps, const PinvNorms<float>& norms,
                         const PinvOptions& options, Tensor& da, Tensor& dc) {
  const Index size = a.dim(-1);
  visit_size(size, [&]<int kSize>(std::integral_constant<int, kSize>) {
    if constexpr (kSize <= kMostInBlockGrad) {
      const bool keeps_inputs = device_has(backward_bytes<kSize>(true));
      const auto kernel = keeps_inputs ? pinv_grad_blocks<kSize, true> : pinv_grad_blocks<kSize, kSize <= 32>;
      const std::size_t bytes = backward_bytes<kSize>(keeps_inputs);
      launch(kernel, dim3(blocks_for("pinv_grad", a.size() / (size * size), 1)), dim3(Layout<kSize>::kThreads), bytes,
             current_stream(), dout.data<float>(), a.data<float>(), steps.data<float>(), norms, static_cast<int>(size),
             options.iterations, a.size(), !options.detach_coefficient, da.data<float>(), dc.data<float>());
    }
  });
}

}  // namespace subquad::kernels::cuda
