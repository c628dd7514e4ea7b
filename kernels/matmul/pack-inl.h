// How tiled_product lays out its factors, so that a tile reads them one after the other. Include inside the per-target
// part of a kernel (after targets.h and hwy/highway.h).
#if defined(SUBQUAD_KERNELS_MATMUL_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_MATMUL_PACK_INL_H_
#undef SUBQUAD_KERNELS_MATMUL_PACK_INL_H_
#else
#define SUBQUAD_KERNELS_MATMUL_PACK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "subquad/kernels/blas/matrix.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/tile-inl.h"
#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
using Vector = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Vector<T>()));
template <class T>
inline constexpr Index kLine = static_cast<Index>(64 / sizeof(T));  // numbers on a cache line

template <class T>
inline constexpr Index kPanel = 2 * kLanes<T>;  // columns of a tile

// Rows of a packed left factor that stand side by side: with two vectors of columns 28 and 12 sums of 32 and 16
// registers.
inline constexpr int kHeight = HWY_TARGET == HWY_AVX3 ? 14 : 6;

// A large product goes block by block: so many rows and terms of a, 2 MiB of them in L3 (0.9 with AVX2), against so
// many columns of b, half of an L2 of 1 MiB (512 KiB). Halves and doubles of each on a Zen 5 were 0 to 5 % slower.
inline constexpr Index kBlockRows = 74 * kHeight;
inline constexpr Index kBlockDepth = 512;
template <class T>
inline constexpr Index kBlockColumns = 16 * kLanes<T>;

// Rows of a as PackLeft leaves them.
template <class T>
struct PackedRows {
  static constexpr Index row = 1, step = kHeight;
  const T* data;
};

// Rows [0, depth) of b's first `width` columns, a panel behind the other: to[j * depth + k * kPanel + c] = b(k, j + c)
// for j = 0, kPanel, ..., anything where there is no column.
template <class T>
HWY_INLINE void PackRight(Matrix<const T> b, Index depth, Index width, T* to) {
  const Vector<T> d;
  if (!b.transposed) {  // row by row: panel by panel, rows on pages of their own would come one cache line after the
                        // other
    for (Index k = 0; k < depth; ++k)
      ForVectors(d, width, [&](Index j, auto lanes) HWY_ATTR {
        const Index inside = j % kPanel<T>;
        hn::Store(lanes.Load(b.at(k, j)), d, to + (j - inside) * depth + k * kPanel<T> + inside);
      });
    return;
  }
  for (Index j = 0; j < width; j += kLanes<T>) {
    const T* column[kLanes<T>];
    for (Index lane = 0; lane < kLanes<T>; ++lane) column[lane] = b.at(0, std::min(j + lane, width - 1));
    const Index inside = j % kPanel<T>;
    RowsToLanes(d, column, depth, hn::Set(d, T(1)), to + (j - inside) * depth + inside, kPanel<T>);
  }
}

// Up to kHeight rows of a: to[k * kHeight + r] = a(r, k), anything where there is no row. A vector may run over the
// rows of the next term, which are written after it, and over the end.
template <class T>
HWY_INLINE void PackRows(Left<T> a, Index rows, Index depth, T* to) {
  constexpr Index kStep = kPerBlock<T>, kGroups = (kHeight + kLanes<T> - 1) / kLanes<T>;
  const Vector<T> d;
  if (a.row == 1) {
    for (Index k = 0; k < depth; ++k)
      for (Index r = (kGroups - 1) * kLanes<T>; r >= 0; r -= kLanes<T>) {
        const PartVector<Vector<T>> lanes{hn::FirstN(d, static_cast<std::size_t>(std::max<Index>(rows - r, 0)))};
        hn::StoreU(lanes.Load(a.data + k * a.step + r), d, to + k * kHeight + r);
      }
    return;
  }
  const T* row[kGroups * kLanes<T>];
  for (Index r = 0; r < kGroups * kLanes<T>; ++r) row[r] = a.data + std::min(r, rows - 1) * a.row;
  Index k = 0;
  for (; k + kStep <= depth; k += kStep)
    for (Index first = (kGroups - 1) * kLanes<T>; first >= 0; first -= kLanes<T>) {
      hn::Vec<Vector<T>> v[kStep];
      for (Index r = 0; r < kStep; ++r) v[r] = LoadBlocks(d, row + first + r, k);
      TransposeBlocks(d, v);
      for (Index r = 0; r < kStep; ++r) hn::StoreU(v[r], d, to + (k + r) * kHeight + first);
    }
  for (; k < depth; ++k)
    for (Index r = 0; r < kHeight; ++r) to[k * kHeight + r] = row[r][k];
}

// Any number of rows, kHeight and kHeight of them one behind the other. Writes up to a vector more.
template <class T>
HWY_INLINE void PackLeft(Left<T> a, Index m, Index depth, T* to) {
  for (Index i = 0; i < m; i += kHeight)
    PackRows(a.from_row(i), std::min<Index>(kHeight, m - i), depth, to + i * depth);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
