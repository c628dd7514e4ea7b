#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/dropout/cpu.cpp"
#include "subquad/kernels/dropout/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/kernels/dropout/keep-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
HWY_INLINE void Multiply(const T* a, const T* b, Index count, T* to) {
  ForVectors(hn::ScalableTag<T>(), count,
             [&](Index i, auto lanes) HWY_ATTR { lanes.Store(hn::Mul(lanes.Load(a + i), lanes.Load(b + i)), to + i); });
}

inline constexpr Index kDropoutRows = 16, kDropoutColumns = 2 * kKeepBlock;  // whose factors stay in L1

template <class T>
void DropoutRows(const cpu::Keep& keep, Index positions, Index width, Index begin, Index end, const T* x, T* out) {
  HWY_ALIGN T factors[kDropoutRows * kDropoutColumns];
  for (Index first = 0; first < width; first += kDropoutColumns) {
    const Index count = std::min(kDropoutColumns, width - first);
    KeepFactorsOfRows(keep, positions, begin, end - begin, first, count, factors, kDropoutColumns);
    for (Index row = begin; row < end; ++row)
      Multiply(x + row * width + first, factors + (row - begin) * kDropoutColumns, count, out + row * width + first);
  }
}

template <class T>
void DropoutAll(const Tensor& x, const cpu::Keep& keep, Tensor& out) {
  const Index width = x.dim(-1), rows = x.size() / width, positions = rows / x.dim(0);
  const T* from = x.data<T>();
  T* to = out.data<T>();
  parallel_chunks(rows, kDropoutRows, 2 * width,
                  [&](Index begin, Index end) { DropoutRows(keep, positions, width, begin, end, from, to); });
}

void Dropout(const Tensor& x, const cpu::Keep& keep, Tensor& out) {
  visit_float("dropout", x.dtype(), [&]<class T>(Type<T>) { DropoutAll<T>(x, keep, out); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(Dropout);

namespace cpu {

void dropout(const Tensor& x, double probability, const RandomState& random, Tensor& out) {
  if (x.size() > 0) SUBQUAD_DISPATCH(Dropout)(x, Keep(probability, random), out);
}

}  // namespace cpu
}  // namespace subquad::kernels

#endif  // HWY_ONCE
