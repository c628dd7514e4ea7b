// Rows in memory to columns in lanes and back. Include inside the per-target part of a kernel (after targets.h and
// hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_TRANSPOSE_INL_H_
#undef SUBQUAD_KERNELS_SIMD_TRANSPOSE_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/core/shape.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

template <class T>
inline constexpr Index kPerBlock = 1;

template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const T* const* rows, Index column) {
  return hn::LoadU(d, rows[0] + column);
}
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreBlocks(D d, hn::Vec<D> v, T* const* rows, Index column) {
  hn::StoreU(v, d, rows[0] + column);
}
template <class D>
HWY_INLINE void TransposeBlocks(D /*d*/, hn::Vec<D>* /*v*/) {}

#else

// Numbers of T in 16 bytes: the block inside which lanes can be interleaved.
template <class T>
inline constexpr Index kPerBlock = static_cast<Index>(16 / sizeof(T));

// One vector whose block g holds the 16 bytes at rows[g * kPerBlock] + column.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const T* const* rows, Index column) {
  constexpr Index kHalf = static_cast<Index>(hn::MaxLanes(D())) / 2;
  if constexpr (2 * kHalf == kPerBlock<T>) {
    return hn::LoadU(d, rows[0] + column);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, LoadBlocks(half, rows + kHalf, column), LoadBlocks(half, rows, column));
  }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreBlocks(D d, hn::Vec<D> v, T* const* rows, Index column) {
  constexpr Index kHalf = static_cast<Index>(hn::MaxLanes(D())) / 2;
  if constexpr (2 * kHalf == kPerBlock<T>) {
    hn::StoreU(v, d, rows[0] + column);
  } else {
    const hn::Half<D> half;
    StoreBlocks(half, hn::LowerHalf(half, v), rows, column);
    StoreBlocks(half, hn::UpperHalf(half, v), rows + kHalf, column);
  }
}

// Inside every block: number c of vector r becomes number r of vector c. Its own inverse.
template <class D>
HWY_INLINE void TransposeBlocks(D d, hn::Vec<D>* v) {
  if constexpr (kPerBlock<hn::TFromD<D>> == 2) {
    const auto a = v[0], b = v[1];
    v[0] = hn::InterleaveLower(d, a, b);
    v[1] = hn::InterleaveUpper(d, a, b);
  } else {
    const hn::RepartitionToWide<D> pairs;
    const auto a = hn::BitCast(pairs, hn::InterleaveLower(d, v[0], v[1]));
    const auto b = hn::BitCast(pairs, hn::InterleaveUpper(d, v[0], v[1]));
    const auto c = hn::BitCast(pairs, hn::InterleaveLower(d, v[2], v[3]));
    const auto e = hn::BitCast(pairs, hn::InterleaveUpper(d, v[2], v[3]));
    v[0] = hn::BitCast(d, hn::InterleaveLower(pairs, a, c));
    v[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, a, c));
    v[2] = hn::BitCast(d, hn::InterleaveLower(pairs, b, e));
    v[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, b, e));
  }
}

#endif  // HWY_SCALAR

// columns[c * stride + lane] = scale * rows[lane][c] for one vector of lanes and c < count; `columns` is aligned.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void RowsToLanes(D d, const T* const* rows, Index count, hn::Vec<D> scale, T* columns, Index stride) {
  constexpr Index kLanesOf = hn::MaxLanes(D()), kStep = kPerBlock<T>;
  Index c = 0;
  for (; c + kStep <= count; c += kStep) {
    hn::Vec<D> v[kStep];
    for (Index r = 0; r < kStep; ++r) v[r] = LoadBlocks(d, rows + r, c);
    TransposeBlocks(d, v);
    for (Index r = 0; r < kStep; ++r) hn::Store(hn::Mul(v[r], scale), d, columns + (c + r) * stride);
  }
  for (; c < count; ++c) {
    HWY_ALIGN T column[kLanesOf];
    for (Index lane = 0; lane < kLanesOf; ++lane) column[lane] = rows[lane][c];
    hn::Store(hn::Mul(hn::Load(d, column), scale), d, columns + c * stride);
  }
}

// rows[lane][c] = scale[lane] * columns[c * stride + lane]
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void LanesToRows(D d, const T* columns, Index stride, Index count, hn::Vec<D> scale, T* const* rows) {
  constexpr Index kLanesOf = hn::MaxLanes(D()), kStep = kPerBlock<T>;
  Index c = 0;
  for (; c + kStep <= count; c += kStep) {
    hn::Vec<D> v[kStep];
    for (Index r = 0; r < kStep; ++r) v[r] = hn::Mul(hn::Load(d, columns + (c + r) * stride), scale);
    TransposeBlocks(d, v);
    for (Index r = 0; r < kStep; ++r) StoreBlocks(d, v[r], rows + r, c);
  }
  for (; c < count; ++c) {
    HWY_ALIGN T column[kLanesOf];
    hn::Store(hn::Mul(hn::Load(d, columns + c * stride), scale), d, column);
    for (Index lane = 0; lane < kLanesOf; ++lane) rows[lane][c] = column[lane];
  }
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
