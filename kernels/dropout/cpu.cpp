#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/dropout/cpu.cpp"
#include "subquad/kernels/dropout/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/dropout/keep-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
void DropoutRows(const Tensor& x, const cpu::Keep& keep, Tensor& out) {
  constexpr Index kStrip = 4 * kKeepBlock;  // features at a time: their factors stay in L1
  const Index width = x.dim(-1), positions = x.size() / width / x.dim(0);
  const T* source = x.data<T>();
  T* target = out.data<T>();
  parallel_for(x.dim(0) * positions, 2 * width, [&](Index row) HWY_ATTR {
    T factors[kStrip];
    for (Index first = 0; first < width; first += kStrip) {
      const Index count = std::min(kStrip, width - first);
      const T* from = source + row * width + first;
      T* to = target + row * width + first;
      KeepFactors(keep, row / positions, row % positions, first, count, factors);
      for (Index i = 0; i < count; ++i) to[i] = from[i] * factors[i];
    }
  });
}

void Dropout(const Tensor& x, const cpu::Keep& keep, Tensor& out) {
  visit_float("dropout", x.dtype(), [&]<class T>(Type<T>) { DropoutRows<T>(x, keep, out); });
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
