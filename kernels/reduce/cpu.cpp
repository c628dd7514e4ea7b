#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/reduce/cpu.cpp"
#include "subquad/kernels/reduce/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <numeric>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

// Sum of consecutive numbers. Sixteen partial sums, added as a tree, let the compiler use vectors without reordering.
template <class T>
T SumRun(const T* x, Index count) {
  constexpr Index kLanes = 16;
  if (count < kLanes) return std::accumulate(x, x + count, T(0));
  T lane[kLanes] = {};
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (Index j = 0; j < kLanes; ++j) lane[j] += x[i + j];
  for (Index j = 0; i < count; ++i, ++j) lane[j] += x[i];
  for (Index half = kLanes / 2; half > 0; half /= 2)
    for (Index j = 0; j < half; ++j) lane[j] += lane[j + half];
  return lane[0];
}

// out[k] = sum of `rows` rows of x, each `step` apart, for `count` columns.
template <class T>
void SumRows(const T* x, Index rows, Index step, Index count, T* out) {
  const hn::ScalableTag<T> d;
  ForStrips(d, count, [&](Index c, auto strip) HWY_ATTR {
    constexpr Index kVectors = decltype(strip)::kVectors;
    hn::Vec<hn::ScalableTag<T>> total[kVectors];
    for (Index v = 0; v < kVectors; ++v) total[v] = hn::Zero(d);
    for (Index r = 0; r < rows; ++r)
      for (Index v = 0; v < kVectors; ++v) total[v] = hn::Add(total[v], strip.Load(x + r * step + c, v));
    for (Index v = 0; v < kVectors; ++v) strip.Store(total[v], out + c, v);
  });
}

// Every block of rows becomes one row: x [A, R, K], any strides of A and R -> [A, blocks, K].
template <class T>
void SumBlocksOf(const Tensor& x, Tensor& out) {
  const Index count = x.dim(1), width = x.dim(2), blocks = out.dim(1),
              strips = (width + cpu::kStripColumns - 1) / cpu::kStripColumns;
  const T* source = x.data<T>();
  T* target = out.data<T>();
  const auto sum_part = [&](Index a, Index block, Index strip) HWY_ATTR {
    const Index first = block * cpu::kSumBlock, rows = std::min(cpu::kSumBlock, count - first);
    const Index column = strip * cpu::kStripColumns, columns = std::min(cpu::kStripColumns, width - column);
    const T* from = source + a * x.strides()[0] + first * x.strides()[1] + column;
    T* to = target + (a * blocks + block) * width + column;
    if (width == 1)
      *to = SumRun(from, rows);
    else
      SumRows(from, rows, x.strides()[1], columns, to);
  };
  const Index work = std::min(count, cpu::kSumBlock) * std::min(width, cpu::kStripColumns);
  if (blocks * strips == 1)  // many small sums: three divisions for each would cost more than the sum
    parallel_for(x.dim(0), work, [&](Index a) HWY_ATTR { sum_part(a, 0, 0); });
  else
    parallel_for(x.dim(0) * blocks * strips, work,
                 [&](Index task) HWY_ATTR { sum_part(task / strips / blocks, task / strips % blocks, task % strips); });
}

void SumBlocks(const Tensor& x, Tensor& out) {
  visit_float("sum", x.dtype(), [&]<class T>(Type<T>) { SumBlocksOf<T>(x, out); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(SumBlocks);

namespace cpu {
namespace {

// A larger value takes the place of the best so far, and so does the first NaN. Seldom true on a long way, so that the
// branch costs little.
template <class T>
bool beats(T value, T best) {
  return !(value <= best) && (value > best || best == best);
}

// best[k] and where[k] over `rows` rows of x, each `width` apart, for `columns` columns.
template <class T>
void max_rows(const T* x, Index rows, Index width, Index columns, T* best, Index* where) {
  std::copy_n(x, columns, best);
  std::fill_n(where, columns, Index{0});
  for (Index r = 1; r < rows; ++r)
    for (Index k = 0; k < columns; ++k)
      if (const T value = x[r * width + k]; beats(value, best[k])) {
        best[k] = value;
        where[k] = r;
      }
}

// The same for one column, held in registers.
template <class T>
void max_run(const T* x, Index count, T* best, Index* where) {
  T held = x[0];
  Index place = 0;
  for (Index r = 1; r < count; ++r)
    if (beats(x[r], held)) {
      held = x[r];
      place = r;
    }
  *best = held;
  *where = place;
}

}  // namespace

void sum(const Tensor& x, Tensor& out) {
  if (x.dim(1) == 0) return fill(out, 0);
  Tensor rest = x;
  for (;;) {
    const Index blocks = std::max<Index>(1, (rest.dim(1) + cpu::kSumBlock - 1) / cpu::kSumBlock);
    const bool last = blocks == 1;
    Tensor sums =
        last ? out.reshape({x.dim(0), 1, x.dim(2)}) : empty({x.dim(0), blocks, x.dim(2)}, x.dtype(), x.device());
    SUBQUAD_DISPATCH(SumBlocks)(rest, sums);
    if (last) return;
    rest = sums;
  }
}

void max(const Tensor& x, Tensor& values, Tensor& indices) {
  const Index count = x.dim(1), width = x.dim(2), strips = (width + cpu::kStripColumns - 1) / cpu::kStripColumns;
  visit_float("max", x.dtype(), [&]<class T>(Type<T>) {
    const T* source = x.data<T>();
    T* best = values.data<T>();
    Index* where = indices.data<Index>();
    parallel_for(x.dim(0) * strips, count * std::min(width, cpu::kStripColumns), [&](Index task) {
      const Index a = task / strips, column = task % strips * cpu::kStripColumns;
      const T* from = source + a * count * width + column;
      const Index to = a * width + column;
      if (width == 1)
        max_run(from, count, best + to, where + to);
      else
        max_rows(from, count, width, std::min(cpu::kStripColumns, width - column), best + to, where + to);
    });
  });
}

void max_grad(const Tensor& dout, const Tensor& indices, Tensor& dx) {
  const Index count = dx.dim(1), width = dx.dim(2);
  visit_float("max_grad", dx.dtype(), [&]<class T>(Type<T>) {
    const T* from = dout.data<T>();
    const Index* where = indices.data<Index>();
    T* to = dx.data<T>();
    parallel_for(dout.size(), 1, [&](Index i) {
      const Index a = i / width, k = i % width;
      if (where[i] < 0 || where[i] >= count)
        throw Error(cat("max_grad: indices[", i, "] is ", where[i], ", expected 0 <= index < ", count));
      to[(a * count + where[i]) * width + k] = from[i];
    });
  });
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
