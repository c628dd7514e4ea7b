// Sums over the lanes of many vectors at once: a transposition that adds as it goes. Include inside the per-target part
// of a kernel (after targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_SUMS_INL_H_
#undef SUBQUAD_KERNELS_SIMD_SUMS_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// SumOfEach: lane r of the result is the sum of v[r], a vector of memory; `v` is aligned. The order of the additions is
// the same for every r. Some two and a half shuffles for each, where a sum of one vector alone takes eight.
#if HWY_TARGET == HWY_SCALAR

template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> SumOfEach(D d, const T* v) {
  return hn::Load(d, v);
}

#else

// Block g of the result is the sum of the blocks of v[g], for as many vectors as a vector has blocks of 16 bytes.
template <class D>
HWY_INLINE hn::Vec<D> SumOfBlocks(D d, const hn::Vec<D>* v) {
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) == 32) {
    return hn::Add(hn::ConcatLowerLower(d, v[1], v[0]), hn::ConcatUpperUpper(d, v[1], v[0]));
  } else {
    const auto even = hn::Add(hn::ConcatLowerLower(d, v[2], v[0]), hn::ConcatUpperUpper(d, v[2], v[0]));
    const auto odd = hn::Add(hn::ConcatLowerLower(d, v[3], v[1]), hn::ConcatUpperUpper(d, v[3], v[1]));
    return hn::Add(hn::OddEvenBlocks(odd, even), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(even, odd)));
  }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> SumOfEach(D d, const T* v) {
  constexpr Index kLanes = hn::MaxLanes(D()), kStep = kPerBlock<T>;
  hn::Vec<D> blocks[kLanes / kStep];
  for (Index g = 0; g < kLanes / kStep; ++g) {
    hn::Vec<D> group[kStep];
    for (Index r = 0; r < kStep; ++r) group[r] = hn::Load(d, v + (g * kStep + r) * kLanes);
    TransposeBlocks(d, group);
    for (Index half = kStep / 2; half > 0; half /= 2)
      for (Index r = 0; r < half; ++r) group[r] = hn::Add(group[r], group[r + half]);
    blocks[g] = group[0];
  }
  return SumOfBlocks(d, blocks);
}

#endif

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
