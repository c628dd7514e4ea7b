#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/running_max/cpu.cpp"
#include "subquad/kernels/running_max/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// The cells of one line in the order of the run.
struct Run {
  Index first, step, length;
  Index cell(Index t) const { return first + t * step; }
};

struct Grid {
  Index rows, columns;
  bool along_row, after;
  bool full;  // every cell is a real token, and rows of cells have no gaps between them

  Grid(const RunningMaxOptions& options, Index cells, const Tensor& x, const Mask& mask)
      : rows(cells / options.columns),
        columns(options.columns),
        along_row(options.along == GridAxis::row),
        after(options.after),
        full(x.dim(1) == cells && !mask.defined() && x.is_contiguous()) {}

  Index lines() const { return along_row ? rows : columns; }
  // Columns of a full grid run side by side, as one line of wide cells: neighbours in memory, not a page each.
  Index abreast(Index line, Index width) const {
    constexpr Index kWide = 1024;  // numbers: with their gradients and maxima still in L1
    if (along_row || !full) return 1;
    return std::min(columns - line, std::max<Index>(1, kWide / width));
  }
  Run run(Index line) const {
    const Run forward = along_row ? Run{line * columns, 1, columns} : Run{line, columns, rows};
    return after ? Run{forward.cell(forward.length - 1), -forward.step, forward.length} : forward;
  }
};

struct Reals {
  const Mask& mask;
  Index n;
  bool operator()(Index b, Index i) const { return i < n && (!mask.defined() || mask.real.data<bool>()[b * n + i]); }
};

template <class T>
void RunLine(View<const T, 3> x, const Reals& real, Index b, const Run& run, Index width, View<T, 3> out) {
  const hn::ScalableTag<T> d;
  std::vector<T> top(static_cast<std::size_t>(width), T(0));  // so far
  T* const best = top.data();
  bool met_one = false;
  for (Index t = 0; t < run.length; ++t) {
    const Index i = run.cell(t);
    std::copy_n(best, width, &out(b, i, 0));
    if (!real(b, i)) continue;
    const T* row = &x(b, i, 0);
    if (!met_one) std::copy_n(row, width, best);
    met_one = true;
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Max(lanes.Load(row + c), lanes.Load(best + c)), best + c);
    });
  }
}

template <class T>
void RunLineBack(View<const T, 3> dout, View<const T, 3> x, View<const T, 3> out, const Reals& real, Index b,
                 const Run& run, Index width, View<T, 3> dx) {
  const hn::ScalableTag<T> d;
  Index first_real = 0;
  while (first_real < run.length && !real(b, run.cell(first_real))) ++first_real;
  std::vector<T> gathered(static_cast<std::size_t>(width),
                          T(0));  // from the cells behind, for who attained the maximum
  T* const sum = gathered.data();
  for (Index t = run.length - 1; t > first_real; --t) {
    const Index i = run.cell(t);
    const T *up = &dout(b, i, 0), *before = &out(b, i, 0);
    const bool takes = real(b, i);
    const T* row = takes ? &x(b, i, 0) : before;
    T* to = takes ? &dx(b, i, 0) : nullptr;
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      auto rest = lanes.Load(sum + c);
      if (takes) {
        const auto attained = hn::Gt(lanes.Load(row + c), lanes.Load(before + c));
        lanes.Store(hn::Add(lanes.Load(to + c), hn::IfThenElseZero(attained, rest)), to + c);
        rest = hn::IfThenZeroElse(attained, rest);
      }
      lanes.Store(hn::Add(rest, lanes.Load(up + c)), sum + c);
    });
  }
  if (first_real == run.length) return;
  T* const to = &dx(b, run.cell(first_real), 0);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    lanes.Store(hn::Add(lanes.Load(to + c), lanes.Load(sum + c)), to + c);
  });
}

// f(b, run, width of a cell) for all lines of all samples of cells [B, cells, C], those that run abreast together.
template <class T, class F>
void ForRuns(const Grid& grid, View<T, 3> cells, const F& f) {
  const Index width = cells.dim(2), together = grid.abreast(0, width);
  const Index tasks = (grid.lines() + together - 1) / together;
  parallel_for(cells.dim(0) * tasks, together * cells.dim(1) / grid.lines() * width / 2, [&](Index task) {
    const Index line = task % tasks * together;
    f(task / tasks, grid.run(line), grid.abreast(line, width) * width);
  });
}

}  // namespace

void RunningMax(const Tensor& x, const RunningMaxOptions& options, const Mask& mask, Tensor& out) {
  if (out.size() == 0) return;
  visit_float("running_max", x.dtype(), [&]<class T>(Type<T>) {
    const auto from = x.view<const T, 3>();
    const auto to = out.view<T, 3>();
    const Reals real{mask, x.dim(1)};
    ForRuns(Grid(options, to.dim(1), x, mask), to,
            [&](Index b, const Run& run, Index width) { RunLine(from, real, b, run, width, to); });
  });
}

void RunningMaxGrad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                    const Mask& mask, Tensor& dx) {
  if (out.size() == 0) return;
  visit_float("running_max_grad", x.dtype(), [&]<class T>(Type<T>) {
    const auto up = dout.view<const T, 3>(), from = x.view<const T, 3>(), forward = out.view<const T, 3>();
    const auto to = dx.view<T, 3>();
    const Reals real{mask, x.dim(1)};
    ForRuns(Grid(options, forward.dim(1), x, mask), forward,
            [&](Index b, const Run& run, Index width) { RunLineBack(up, from, forward, real, b, run, width, to); });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(RunningMax);
HWY_EXPORT(RunningMaxGrad);

void cpu::running_max(const Tensor& x, const RunningMaxOptions& options, const Mask& mask, Tensor& out) {
  SUBQUAD_DISPATCH(RunningMax)(x, options, mask, out);
}

void cpu::running_max_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                           const Mask& mask, Tensor& dx) {
  SUBQUAD_DISPATCH(RunningMaxGrad)(dout, x, out, options, mask, dx);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
