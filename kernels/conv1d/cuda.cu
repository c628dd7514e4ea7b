#include "subquad/kernels/conv1d/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/lengths.cuh"
#include "subquad/kernels/warp/reduce.cuh"

// A block has 128 neighbouring positions of a head and 32 of its features, one per lane. The rows that they need for up
// to 64 taps (float64: 48), K - 1 more than they are, lie in shared memory; eight neighbouring results of a thread stay
// in registers while the window slides over their rows, so that a row and a tap are loaded once for eight
// multiply-adds. More taps take more windows. x, base and out move once, but for the window's halo.
namespace subquad::kernels::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kPositions = 128;     // of a block
constexpr int kRows = 8;            // neighbouring results of a thread
constexpr Index kMostParts = 1024;  // of dtaps that who adds them up gets
constexpr int kTurns = kPositions / (kWarps * kRows);

template <class T>
constexpr int kTaps = sizeof(T) == 4 ? 64 : 48;  // of a window: the gradient's two fit into 99 KiB of shared memory
template <class T>
constexpr int kWindow = kPositions + kTaps<T>;  // rows in shared memory

// Rows [B, H, N, C] that count as 0 where they are not real. `real` is null where the first ends[b] positions are.
template <class T>
struct Rows {
  View<const T, 4> x;
  const bool* real;
  Lengths ends;

  Rows(const Tensor& t, const Mask& mask)
      : x(t.view<const T, 4>()),
        real(mask.defined() && !mask.prefix ? mask.real.data<bool>() : nullptr),
        ends(real != nullptr ? Mask() : mask, t.dim(2)) {}

  __device__ bool is_real(Index b, Index n) const {
    return n >= 0 && n < ends[b] && (real == nullptr || real[b * ends.positions + n]);
  }
};

// What a block works on.
struct Place {
  Index b, h, first;  // first position
  int column;         // of this lane
  bool has_column;

  __device__ Place(Index heads, Index positions, Index width) {
    const unsigned columns = static_cast<unsigned>((width + kWarp - 1) / kWarp);
    const unsigned chunks = static_cast<unsigned>((positions + kPositions - 1) / kPositions);
    const unsigned head = blockIdx.x / columns / chunks;
    b = head / heads;
    h = head % heads;
    first = Index{blockIdx.x / columns % chunks} * kPositions;
    column = static_cast<int>(blockIdx.x % columns * kWarp + threadIdx.x % kWarp);
    has_column = column < width;
  }
};

unsigned blocks(const char* op, const Tensor& x) {
  const Index chunks = (x.dim(2) + kPositions - 1) / kPositions, columns = (x.dim(3) + kWarp - 1) / kWarp;
  return blocks_for(op, x.dim(0) * x.dim(1) * chunks * columns, 1);
}

// Rows of window that `count` taps read for kPositions results: whole steps of kRows, zeros of taps included.
__device__ int steps_of(int count) {
  return (count + 2 * kRows - 2) / kRows * kRows;
}

// window[r][lane] = row number first + r of this lane's feature. All threads of the block call.
template <class T>
__device__ void stage_rows(const Rows<T>& rows, const Place& place, Index first, int count, T* window) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll 4
  for (int r = static_cast<int>(threadIdx.x) / kWarp; r < count; r += kWarps) {
    const bool there = place.has_column && rows.is_real(place.b, first + r);
    window[r * kWarp + lane] = there ? rows.x(place.b, place.h, first + r, place.column) : T(0);
  }
}

// padded[kRows - 1 + t] = taps number first + t of a head, or the last but that many; zeros on either side.
template <class T>
__device__ void stage_taps(const T* taps, int all, int first, int count, bool reversed, T* padded) {
  for (int i = static_cast<int>(threadIdx.x); i < kTaps<T> + 2 * kRows; i += kThreads) {
    const int t = i - (kRows - 1);
    padded[i] = t >= 0 && t < count ? taps[reversed ? all - 1 - first - t : first + t] : T(0);
  }
}

// sum[i] += sum_t taps[t] window[i + t] down the column of this lane, for kRows neighbouring results.
template <class T>
__device__ void slide(const T* window, const T* padded, int count, T (&sum)[kRows]) {
  T tap[2 * kRows - 1];
#pragma unroll
  for (int i = 0; i < kRows - 1; ++i) tap[i] = padded[i];
  for (int first = 0; first < steps_of(count); first += kRows) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) tap[kRows - 1 + i] = padded[first + kRows - 1 + i];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const T x = window[(first + r) * kWarp];
#pragma unroll
      for (int i = 0; i < kRows; ++i) sum[i] += tap[kRows - 1 + r - i] * x;
    }
#pragma unroll
    for (int i = 0; i < kRows - 1; ++i) tap[i] = tap[kRows + i];
  }
}

// First of the kRows neighbouring results that a warp makes in a turn, within the block.
__device__ int first_result(int turn) {
  return (turn * kWarps + static_cast<int>(threadIdx.x) / kWarp) * kRows;
}

template <class T>
using Results = T[kTurns][kRows];

template <class T>
__device__ void slide_all(const T* window, const T* padded, int count, Results<T>& sums) {
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn)
    slide(window + first_result(turn) * kWarp + threadIdx.x % kWarp, padded, count, sums[turn]);
}

// f(n, sum) for the results of this thread that exist; n is their position.
template <class T, class F>
__device__ void for_results(const Results<T>& sums, const Place& place, Index positions, const F& f) {
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn)
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const Index n = place.first + first_result(turn) + i;
      if (n < positions && place.has_column) f(n, sums[turn][i]);
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    conv1d_blocks(Rows<T> x, const T* taps, int count, View<const T, 4> base, bool zero_padded, View<T, 4> out) {
  SharedMemory shared;
  T* const window = shared.take<T>(kWindow<T> * kWarp);
  T* const padded = shared.take<T>(kTaps<T> + 2 * kRows);
  const Place place(out.dim(1), out.dim(2), out.dim(3));
  Results<T> sums = {};
  for (int first = 0; first < count; first += kTaps<T>) {
    const int some = count - first < kTaps<T> ? count - first : kTaps<T>;
    __syncthreads();  // the window before is no longer read
    stage_rows(x, place, place.first + first - count / 2, kPositions - kRows + steps_of(some), window);
    stage_taps(taps + place.h * count, count, first, some, false, padded);
    __syncthreads();
    slide_all(window, padded, some, sums);
  }
  for_results(sums, place, out.dim(2), [&](Index n, T sum) {
    if (zero_padded && !x.is_real(place.b, n))
      sum = 0;
    else if (base.data() != nullptr)
      sum = base(place.b, place.h, n, place.column) + sum;
    out(place.b, place.h, n, place.column) = sum;
  });
}

// The sum over the lanes of each of eight values; lane l gets that of value number l / 4. Every step halves the values
// that a lane cares for.
template <class T>
__device__ T sums_over_lanes(T (&value)[kRows]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int half = kRows / 2; half > 0; half /= 2) {
    const int distance = half * kWarp / kRows;
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const T other = __shfl_xor_sync(kWholeWarp, upper ? value[i] : value[half + i], distance);
      value[i] = (upper ? value[half + i] : value[i]) + other;
    }
  }
  T sum = value[0];
#pragma unroll
  for (int distance = kWarp / kRows / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
  return sum;
}

// dx like conv1d_blocks, from a window of dout and the taps in reverse; then each warp adds up what its 16 positions,
// whose dout it keeps in registers, and a window of x give to eight taps at a time, over its lanes; the block adds its
// warps in order. dbase may be null.
template <class T>
__global__ void __launch_bounds__(kThreads) conv1d_grad_blocks(Rows<T> dout, Rows<T> x, const T* taps, int count,
                                                               View<T, 4> dx, View<T, 4> dbase, View<T, 3> partial) {
  constexpr int kOwn = kPositions / kWarps;
  SharedMemory shared;
  T* const dout_window = shared.take<T>(kWindow<T> * kWarp);
  T* const x_window = shared.take<T>(kWindow<T> * kWarp);
  T* const padded = shared.take<T>(kTaps<T> + 2 * kRows);
  T* const warp_sums = shared.take<T>(kWarps * kTaps<T>);
  const Place place(dx.dim(1), dx.dim(2), dx.dim(3));
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const Index heads = dx.dim(1), blocks_per_head = Index{gridDim.x} / (dx.dim(0) * heads);
  const Index part = Index{blockIdx.x} % blocks_per_head * dx.dim(0) + place.b;  // padding's stand last

  T up[kOwn];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const Index n = place.first + warp * kOwn + i;
    const bool inside = place.has_column && n < dx.dim(2);
    up[i] = inside && dout.is_real(place.b, n) ? dout.x(place.b, place.h, n, place.column) : T(0);
    if (inside && dbase.data() != nullptr) dbase(place.b, place.h, n, place.column) = up[i];
  }
  Results<T> sums = {};
  for (int first = 0; first < count; first += kTaps<T>) {
    const int some = count - first < kTaps<T> ? count - first : kTaps<T>;
    __syncthreads();  // the windows before are no longer read
    const Index first_row = place.first + first - count / 2;
    stage_rows(dout, place, first_row, kPositions - kRows + steps_of(some), dout_window);
    stage_rows(x, place, first_row, kPositions - kRows + steps_of(some), x_window);
    stage_taps(taps + place.h * count, count, first, some, true, padded);
    __syncthreads();
    slide_all(dout_window, padded, some, sums);

    for (int tap = 0; tap < some; tap += kRows) {
      T products[kRows] = {}, row[2 * kRows - 1];
      const T* const rows = x_window + (warp * kOwn + tap) * kWarp + lane;
#pragma unroll
      for (int i = 0; i < kRows - 1; ++i) row[i] = rows[i * kWarp];
#pragma unroll
      for (int turn = 0; turn < kOwn; turn += kRows) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) row[kRows - 1 + i] = rows[(turn + kRows - 1 + i) * kWarp];
#pragma unroll
        for (int n = 0; n < kRows; ++n)
#pragma unroll
          for (int i = 0; i < kRows; ++i) products[i] += up[turn + n] * row[n + i];
#pragma unroll
        for (int i = 0; i < kRows - 1; ++i) row[i] = row[kRows + i];
      }
      const T sum = sums_over_lanes(products);
      constexpr int kShare = kWarp / kRows;
      if (lane % kShare == 0) warp_sums[warp * kTaps<T> + tap + lane / kShare] = sum;
    }
    __syncthreads();
    for (int t = static_cast<int>(threadIdx.x); t < some; t += kThreads) {
      T sum = warp_sums[t];
      for (int w = 1; w < kWarps; ++w) sum += warp_sums[w * kTaps<T> + t];
      partial(part, place.h, first + t) = sum;
    }
  }
  for_results(sums, place, dx.dim(2),
              [&](Index n, T sum) { dx(place.b, place.h, n, place.column) = x.is_real(place.b, n) ? sum : T(0); });
}

// dtaps = the sum of partial [B * parts of a sample, H, K] over the parts: a warp per tap, lane l with the parts number
// l, l + 32, ... of each sample, so that padding, whose parts are 0 and stand last, changes nothing.
template <class T>
__global__ void conv1d_tap_sums(View<const T, 3> partial, Index batch, View<T, 2> dtaps) {
  const Index tap = Index{blockIdx.x} * kWarps + threadIdx.x / kWarp, count = dtaps.dim(1),
              parts = partial.dim(0) / batch;
  if (tap >= dtaps.dim(0) * count) return;
  T sum = 0;
  for (Index b = 0; b < batch; ++b)
    for (Index part = threadIdx.x % kWarp; part < parts; part += kWarp)
      sum += partial(part * batch + b, tap / count, tap % count);
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) dtaps(tap / count, tap % count) = sum;
}

}  // namespace

void conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, PaddedRows padded, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("conv1d", x.dtype(), [&]<class T>(Type<T>) {
    const View<const T, 4> no_base(nullptr, {0, 0, 0, 0}, {0, 0, 0, 0});
    launch(conv1d_blocks<T>, dim3(blocks("conv1d", x)), dim3(kThreads),
           shared_size<T>(kWindow<T> * kWarp) + shared_size<T>(kTaps<T> + 2 * kRows), current_stream(),
           Rows<T>(x, mask), taps.data<T>(), static_cast<int>(taps.dim(1)),
           base.defined() ? base.view<const T, 4>() : no_base, padded == PaddedRows::zero, out.view<T, 4>());
  });
}

void conv1d_grad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask,
                 const Conv1dGradOptions& options, Conv1dGrads& grads) {
  constexpr const char* kOp = "conv1d_grad";
  if (x.size() == 0) return fill(grads.dtaps, 0);
  const unsigned grid = blocks(kOp, x);
  const Index heads = x.dim(1), count = taps.dim(1);
  Tensor partial = empty({grid / heads, heads, count}, x.dtype(), x.device());
  visit_float(kOp, x.dtype(), [&]<class T>(Type<T>) {
    const View<T, 4> no_dbase(nullptr, {0, 0, 0, 0}, {0, 0, 0, 0});
    launch(conv1d_grad_blocks<T>, dim3(grid), dim3(kThreads),
           2 * shared_size<T>(kWindow<T> * kWarp) + shared_size<T>(kTaps<T> + 2 * kRows) +
               shared_size<T>(kWarps * kTaps<T>),
           current_stream(), Rows<T>(dout, options.padded == PaddedRows::zero ? mask : Mask()), Rows<T>(x, mask),
           taps.data<T>(), static_cast<int>(count), grads.dx.view<T, 4>(),
           grads.dbase.defined() ? grads.dbase.view<T, 4>() : no_dbase, partial.view<T, 3>());
    if (options.taps_in_parts && partial.dim(0) <= kMostParts) return;
    launch(conv1d_tap_sums<T>, dim3(blocks_for(kOp, heads * count, kWarps)), dim3(kThreads), 0, current_stream(),
           partial.view<const T, 3>(), x.dim(0), grads.dtaps.view<T, 2>());
  });
  if (options.taps_in_parts && partial.dim(0) <= kMostParts) grads.dtaps = partial;
}

}  // namespace subquad::kernels::cuda
