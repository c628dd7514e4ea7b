#include "subquad/kernels/running_max/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/reals.cuh"
#include "subquad/kernels/warp/row_group.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 8;  // cells that a thread loads before it looks at the first of them

struct Grid {
  int rows, columns;
  bool along_row, after;

  Grid(const RunningMaxOptions& options, Index cells)
      : rows(static_cast<int>(cells / options.columns)),
        columns(static_cast<int>(options.columns)),
        along_row(options.along == GridAxis::row),
        after(options.after) {}

  __host__ __device__ int lines() const { return along_row ? rows : columns; }
};

// The cells of one line in the order of the run.
struct Run {
  int first, step, length;

  __device__ Run(const Grid& grid, int line)
      : first(grid.along_row ? line * grid.columns : line),
        step(grid.along_row ? 1 : grid.columns),
        length(grid.along_row ? grid.columns : grid.rows) {
    if (!grid.after) return;
    first += (length - 1) * step;
    step = -step;
  }
  __device__ int cell(int t) const { return first + t * step; }
};

// What a thread has: a pack of channels of one line, neighbouring threads neighbouring packs.
template <int N>
struct Place {
  Index b;
  int line;
  Index channel;
  bool exists;

  __device__ Place(Index batch, const Grid& grid, Index width) {
    const Index packs = width / N, thread = Index{blockIdx.x} * kThreads + threadIdx.x, of_line = thread / packs;
    b = of_line / grid.lines();
    line = static_cast<int>(of_line % grid.lines());
    channel = thread % packs * N;
    exists = b < batch;
  }
};

// A thread walks along a line, with one pack of channels, eight cells loaded at a time. x is read once and out written
// once, a warp at a time 512 bytes of a row (or of neighbouring lines where rows are narrow).
template <class T, int N>
__global__ void running_max_lines(View<const T, 3> x, Grid grid, Reals reals, View<T, 3> out) {
  const Place<N> at(x.dim(0), grid, x.dim(2));
  if (!at.exists) return;
  const SampleReals real = reals.sample(at.b);
  const Run run(grid, at.line);
  Pack<T, N> best = {};
  bool met_one = false;
  for (int from = 0; from < run.length; from += kAhead) {
    Pack<T, N> rows[kAhead];
    bool counts[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int i = run.cell(from + a);
      counts[a] = from + a < run.length && real[i];
      if (counts[a]) rows[a] = load_pack<N>(&x(at.b, i, at.channel));
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (from + a >= run.length) break;
      store_pack<N>(&out(at.b, run.cell(from + a), at.channel), best);
      if (!counts[a]) continue;
      for (int c = 0; c < N; ++c) best.at[c] = met_one ? Max::of(rows[a].at[c], best.at[c]) : rows[a].at[c];
      met_one = true;
    }
  }
}

// Back along the line: a position takes what has gathered behind it where it is above the maximum that it met. dout, x
// and out are read once, dx is written once, at padded positions too.
template <class T, int N>
__global__ void running_max_grad_lines(View<const T, 3> dout, View<const T, 3> x, View<const T, 3> out, Grid grid,
                                       Reals reals, View<T, 3> dx) {
  const Place<N> at(x.dim(0), grid, x.dim(2));
  if (!at.exists) return;
  const SampleReals real = reals.sample(at.b);
  const Run run(grid, at.line);
  int first_real = 0;
  while (first_real < run.length && !real[run.cell(first_real)]) ++first_real;
  Pack<T, N> sum = {};
  constexpr int kBackAhead = kAhead / 2;  // three rows each
  for (int from = run.length - 1; from >= 0; from -= kBackAhead) {
    Pack<T, N> rows[kBackAhead] = {}, ups[kBackAhead] = {}, befores[kBackAhead] = {};
#pragma unroll
    for (int a = 0; a < kBackAhead; ++a) {
      if (from - a < first_real) continue;
      const int i = run.cell(from - a);
      ups[a] = load_pack<N>(&dout(at.b, i, at.channel));
      if (!real[i]) continue;
      rows[a] = load_pack<N>(&x(at.b, i, at.channel));
      befores[a] = load_pack<N>(&out(at.b, i, at.channel));
    }
#pragma unroll
    for (int a = 0; a < kBackAhead; ++a) {
      const int t = from - a, i = run.cell(t);
      if (t < 0) break;
      Pack<T, N> taken = {};
      if (t >= first_real) {
        const bool takes = real[i];
        for (int c = 0; c < N; ++c) {
          if (takes && (t == first_real || rows[a].at[c] > befores[a].at[c])) {
            taken.at[c] = sum.at[c];
            sum.at[c] = 0;
          }
          sum.at[c] += ups[a].at[c];
        }
      }
      if (i < x.dim(1)) store_pack<N>(&dx(at.b, i, at.channel), taken);
    }
  }
}

}  // namespace

void running_max(const Tensor& x, const RunningMaxOptions& options, const Mask& mask, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("running_max", x.dtype(), [&]<class T>(Type<T>) {
    const Grid grid(options, out.dim(1));
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const Index threads = x.dim(0) * grid.lines() * (x.dim(2) / N);
          launch(running_max_lines<T, N>, dim3(blocks_for("running_max", threads, kThreads)), dim3(kThreads), 0,
                 current_stream(), x.view<const T, 3>(), grid, Reals(mask, x.dim(1)), out.view<T, 3>());
        },
        x, out);
  });
}

void running_max_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                      const Mask& mask, Tensor& dx) {
  if (dx.size() == 0) return;
  visit_float("running_max_grad", x.dtype(), [&]<class T>(Type<T>) {
    const Grid grid(options, out.dim(1));
    with_row_pack<T>(
        [&]<int N>(std::integral_constant<int, N>) {
          const Index threads = x.dim(0) * grid.lines() * (x.dim(2) / N);
          launch(running_max_grad_lines<T, N>, dim3(blocks_for("running_max_grad", threads, kThreads)), dim3(kThreads),
                 0, current_stream(), dout.view<const T, 3>(), x.view<const T, 3>(), out.view<const T, 3>(), grid,
                 Reals(mask, x.dim(1)), dx.view<T, 3>());
        },
        x, dout, out, dx);
  });
}

}  // namespace subquad::kernels::cuda
