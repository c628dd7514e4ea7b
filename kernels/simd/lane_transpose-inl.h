// Rows in memory to columns in lanes and back with whole vectors at both ends: as many rows as there are lanes, turned
// over in registers. Include inside the per-target part of a kernel (after targets.h and hwy/highway.h); the functions
// live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_LANE_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_LANE_TRANSPOSE_INL_H_
#undef SUBQUAD_KERNELS_SIMD_LANE_TRANSPOSE_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_LANE_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

template <class D>
HWY_INLINE void TransposeLanes(D /*d*/, hn::Vec<D>* /*v*/) {}

#else

// Blocks of 16 bytes: block b of vector g becomes block g of vector b; the vectors stand `step` apart.
template <Index step, class D>
HWY_INLINE void ExchangeBlocks(D d, hn::Vec<D>* v) {
  constexpr Index kBlocks = hn::MaxLanes(D()) / kPerBlock<hn::TFromD<D>>;
  if constexpr (kBlocks == 2) {
    const auto a = v[0], b = v[step];
    v[0] = hn::ConcatLowerLower(d, b, a);
    v[step] = hn::ConcatUpperUpper(d, b, a);
  } else {
    static_assert(kBlocks == 4);
    const auto a = hn::ConcatLowerLower(d, v[2 * step], v[0]), b = hn::ConcatUpperUpper(d, v[2 * step], v[0]);
    const auto c = hn::ConcatLowerLower(d, v[3 * step], v[step]), e = hn::ConcatUpperUpper(d, v[3 * step], v[step]);
    v[0] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(c), a);
    v[step] = hn::OddEvenBlocks(c, hn::SwapAdjacentBlocks(a));
    v[2 * step] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(e), b);
    v[3 * step] = hn::OddEvenBlocks(e, hn::SwapAdjacentBlocks(b));
  }
}

// Of as many vectors as there are lanes: lane c of vector r becomes lane r of vector c.
template <class D>
HWY_INLINE void TransposeLanes(D d, hn::Vec<D>* v) {
  constexpr Index kLanesOf = hn::MaxLanes(D()), kStep = kPerBlock<hn::TFromD<D>>;
  // Vector 4 g + c: its blocks hold number c of rows 4 g, 4 g + 1, ... of every block (float32).
#pragma GCC unroll 8
  for (Index g = 0; g < kLanesOf; g += kStep) TransposeBlocks(d, v + g);
#pragma GCC unroll 4
  for (Index c = 0; c < kStep; ++c) ExchangeBlocks<kStep>(d, v + c);
}

#endif  // HWY_SCALAR

// columns[c][lane] = scale rows[lane][c], a square of columns at a time; `columns` is aligned.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void TurnRowsOver(D d, const T* const* rows, Index count, hn::Vec<D> scale, T* columns) {
  constexpr Index kLanesOf = hn::MaxLanes(D());
  ForVectors(d, count, [&](Index first, auto lanes) HWY_ATTR {
    hn::Vec<D> v[kLanesOf];
#pragma GCC unroll 16
    for (Index r = 0; r < kLanesOf; ++r) v[r] = lanes.Load(rows[r] + first);
    TransposeLanes(d, v);
    const Index some = std::min(kLanesOf, count - first);
#pragma GCC unroll 16
    for (Index c = 0; c < kLanesOf; ++c)
      if (c < some) hn::Store(hn::Mul(v[c], scale), d, columns + (first + c) * kLanesOf);
  });
}

// f(lane, c, part, numbers): numbers columns[c ...][lane], which `part` (row-inl.h) stores, for a square at a time.
template <class D, class T, class F>
HWY_INLINE void TurnColumnsOver(D d, const T* columns, Index count, const F& f) {
  constexpr Index kLanesOf = hn::MaxLanes(D());
  ForVectors(d, count, [&](Index first, auto lanes) HWY_ATTR {
    hn::Vec<D> v[kLanesOf];
    const Index some = std::min(kLanesOf, count - first);
#pragma GCC unroll 16
    for (Index c = 0; c < kLanesOf; ++c) v[c] = c < some ? hn::Load(d, columns + (first + c) * kLanesOf) : hn::Zero(d);
    TransposeLanes(d, v);
#pragma GCC unroll 16
    for (Index r = 0; r < kLanesOf; ++r) f(r, first, lanes, v[r]);
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
