#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/linear/cpu.cpp"
#include "subquad/kernels/linear/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// sums[j] = sum of dout[i, j] over the rows [begin, end), one after the other: four vectors of columns at a time stay
// in registers.
template <class T>
void AddRows(View<const T, 2> dout, Index begin, Index end, T* sums) {
  const hn::ScalableTag<T> d;
  ForStrips(d, dout.dim(1), [&](Index j, auto strip) HWY_ATTR {
    hn::Vec<decltype(d)> sum[strip.kVectors];
    for (int v = 0; v < strip.kVectors; ++v) sum[v] = hn::Zero(d);
    for (Index i = begin; i < end; ++i)
      for (int v = 0; v < strip.kVectors; ++v) sum[v] = hn::Add(sum[v], strip.Load(&dout(i, j), v));
    for (int v = 0; v < strip.kVectors; ++v) strip.Store(sum[v], sums + j, v);
  });
}

template <class T>
void ColumnSums(View<const T, 2> dout, Index rows_per_chunk, View<T, 2> parts) {
  parallel_for(parts.dim(0), rows_per_chunk * dout.dim(1) / 4, [&](Index chunk) HWY_ATTR {
    const Index begin = chunk * rows_per_chunk;
    AddRows(dout, begin, std::min(dout.dim(0), begin + rows_per_chunk), &parts(chunk, 0));
  });
}

}  // namespace

void LinearGradBias(const Tensor& dout, Index rows_per_chunk, Tensor& parts) {
  visit_float("linear_grad_bias", dout.dtype(),
              [&]<class T>(Type<T>) { ColumnSums<T>(dout.view<const T, 2>(), rows_per_chunk, parts.view<T, 2>()); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(LinearGradBias);

void cpu::linear_grad_bias(const Tensor& dout, Tensor& dbias) {
  constexpr Index kRowsPerChunk = 256;
  if (dbias.size() == 0) return;
  const Tensor rows = dout.strides()[1] == 1 ? dout : dout.contiguous();
  const Index chunks = (rows.dim(0) + kRowsPerChunk - 1) / kRowsPerChunk, columns = rows.dim(1);
  Tensor parts = empty({chunks, columns}, dout.dtype(), dout.device());
  SUBQUAD_DISPATCH(LinearGradBias)(rows, kRowsPerChunk, parts);
  visit_float("linear_grad_bias", dout.dtype(), [&]<class T>(Type<T>) {
    for (Index j = 0; j < columns; ++j) {
      double sum = 0;
      for (Index chunk = 0; chunk < chunks; ++chunk) sum += static_cast<double>(parts.data<T>()[chunk * columns + j]);
      dbias.data<T>()[j] = static_cast<T>(sum);
    }
  });
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
