#include "subquad/kernels/reduce/cpu.h"

#include <algorithm>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {
namespace {

constexpr Index kBlock = 1024;  // rows added one after the other; longer sums are cut, and the block sums summed again
constexpr Index kStrip = 1024;  // columns of one task: their sums stay in the first-level cache

// Sum of consecutive numbers. Sixteen partial sums, added as a tree, let the compiler use vectors without reordering.
template <class T>
T sum_run(const T* x, Index count) {
  constexpr Index kLanes = 16;
  T lane[kLanes] = {};
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (Index j = 0; j < kLanes; ++j) lane[j] += x[i + j];
  for (Index j = 0; i < count; ++i, ++j) lane[j] += x[i];
  for (Index half = kLanes / 2; half > 0; half /= 2)
    for (Index j = 0; j < half; ++j) lane[j] += lane[j + half];
  return lane[0];
}

// out[k] = sum of `rows` rows of x, each `width` apart, for `count` columns.
template <class T>
void sum_rows(const T* x, Index rows, Index width, Index count, T* out) {
  std::fill_n(out, count, T(0));
  for (Index r = 0; r < rows; ++r) {
    const T* row = x + r * width;
    for (Index k = 0; k < count; ++k) out[k] += row[k];
  }
}

// Every block of rows becomes one row: [A, R, K] -> [A, blocks, K].
template <class T>
void sum_blocks(const Tensor& x, Tensor& out) {
  const Index count = x.dim(1), width = x.dim(2), blocks = out.dim(1), strips = (width + kStrip - 1) / kStrip;
  const T* source = x.data<T>();
  T* target = out.data<T>();
  parallel_for(x.dim(0) * blocks * strips, std::min(count, kBlock) * std::min(width, kStrip), [&](Index task) {
    const Index strip = task % strips, block = task / strips % blocks, a = task / strips / blocks;
    const Index first = block * kBlock, rows = std::min(kBlock, count - first);
    const Index column = strip * kStrip, columns = std::min(kStrip, width - column);
    const T* from = source + (a * count + first) * width + column;
    T* to = target + (a * blocks + block) * width + column;
    if (width == 1)
      *to = sum_run(from, rows);
    else
      sum_rows(from, rows, width, columns, to);
  });
}

}  // namespace

void sum(const Tensor& x, Tensor& out) {
  if (x.dim(1) == 0) return fill(out, 0);
  Tensor rest = x;
  for (;;) {
    const Index blocks = std::max<Index>(1, (rest.dim(1) + kBlock - 1) / kBlock);
    const bool last = blocks == 1;
    Tensor sums =
        last ? out.reshape({x.dim(0), 1, x.dim(2)}) : empty({x.dim(0), blocks, x.dim(2)}, x.dtype(), x.device());
    visit_float("sum", x.dtype(), [&]<class T>(Type<T>) { sum_blocks<T>(rest, sums); });
    if (last) return;
    rest = sums;
  }
}

void max(const Tensor& x, Tensor& values, Tensor& indices) {
  const Index count = x.dim(1), width = x.dim(2), strips = (width + kStrip - 1) / kStrip;
  visit_float("max", x.dtype(), [&]<class T>(Type<T>) {
    const T* source = x.data<T>();
    T* best = values.data<T>();
    Index* where = indices.data<Index>();
    parallel_for(x.dim(0) * strips, count * std::min(width, kStrip), [&](Index task) {
      const Index a = task / strips, begin = task % strips * kStrip, end = std::min(begin + kStrip, width);
      const T* slab = source + a * count * width;
      for (Index k = begin; k < end; ++k) {
        best[a * width + k] = slab[k];
        where[a * width + k] = 0;
      }
      for (Index r = 1; r < count; ++r)
        for (Index k = begin; k < end; ++k) {
          const T value = slab[r * width + k];
          T& held = best[a * width + k];
          if (value > held || (value != value && held == held)) {  // the first NaN wins
            held = value;
            where[a * width + k] = r;
          }
        }
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

}  // namespace subquad::kernels::cpu
