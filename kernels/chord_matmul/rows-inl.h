// What a factor does to one row: sums of weighted rows, and products of one row with many. Include inside the
// per-target part of a kernel (after targets.h and hwy/highway.h); everything lives in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_
#undef SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_
#else
#define SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <vector>

#include "subquad/kernels/chord_matmul/links.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// The columns that row after row addresses, without a division per row.
class Columns {
 public:
  Columns(const Links& links, Index row, Index positions) : links_(links), row_(row), positions_(positions) {
    for (Index k = 0; k < links.count(); ++k) columns_.push_back(linked_column(links, row, k, positions));
  }
  const Index* data() const { return columns_.data(); }  // -1 where a link drops out

  void next_row() {
    ++row_;
    if (links_.rule == LinkRule::circular) {
      for (Index& column : columns_) column = column + 1 == positions_ ? 0 : column + 1;
    } else {
      for (std::size_t k = 0; k < columns_.size(); ++k) {
        const Index partner = row_ ^ links_.offsets[k];
        columns_[k] = partner < positions_ ? partner : -1;
      }
    }
  }

 private:
  const Links& links_;
  Index row_, positions_;
  std::vector<Index> columns_;
};

// to[0, width) = start[0, width) + sum_k weights[k] rows[k][0, width); no start is 0. Each element is one chain of
// multiply-adds in the order of k.
template <int kVectors, class Lanes, class D, class T = hn::TFromD<D>>
HWY_INLINE void WeighPart(D d, const Lanes& lanes, Index count, const T* weights, const T* const* rows, const T* start,
                          Index at, T* to) {
  constexpr Index kLanes = hn::MaxLanes(d);
  hn::Vec<D> sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = start != nullptr ? lanes.Load(start + at + v * kLanes) : hn::Zero(d);
  for (Index k = 0; k < count; ++k) {
    const auto weight = hn::Set(d, weights[k]);
    const T* row = rows[k] + at;
    for (int v = 0; v < kVectors; ++v) sum[v] = hn::MulAdd(weight, lanes.Load(row + v * kLanes), sum[v]);
  }
  for (int v = 0; v < kVectors; ++v) lanes.Store(sum[v], to + at + v * kLanes);
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void WeighRows(D d, Index count, const T* weights, const T* const* rows, const T* start, Index width,
                          T* to) {
  constexpr Index kLanes = hn::MaxLanes(d);
  const WholeVector<D> whole;
  Index c = 0;
  for (; c + 4 * kLanes <= width; c += 4 * kLanes) WeighPart<4>(d, whole, count, weights, rows, start, c, to);
  for (; c + 2 * kLanes <= width; c += 2 * kLanes) WeighPart<2>(d, whole, count, weights, rows, start, c, to);
  for (; c + kLanes <= width; c += kLanes) WeighPart<1>(d, whole, count, weights, rows, start, c, to);
  if constexpr (kLanes > 1)
    if (c < width) {
      const PartVector<D> part{hn::FirstN(d, static_cast<std::size_t>(width - c))};
      WeighPart<1>(d, part, count, weights, rows, start, c, to);
    }
}

// Adds the 16-byte blocks of a vector; the sums stand in the first one.
#if HWY_TARGET == HWY_SCALAR
template <class D>
HWY_INLINE hn::Vec<D> AddBlocks(D /*d*/, hn::Vec<D> v) {
  return v;
}
#else
template <class D>
HWY_INLINE auto AddBlocks(D /*d*/, hn::Vec<D> v) {
  if constexpr (static_cast<Index>(hn::MaxLanes(D())) <= kPerBlock<hn::TFromD<D>>) {
    return v;
  } else {
    const hn::Half<D> half;
    return AddBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

// to[k] = sum_c row[c] rows[k][c] for kPerBlock numbers k.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void DotGroup(D d, const T* row, const T* const* rows, Index width, T* to) {
  hn::Vec<D> sums[kPerBlock<T>];
  for (auto& sum : sums) sum = hn::Zero(d);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    const auto left = lanes.Load(row + c);
    for (Index k = 0; k < kPerBlock<T>; ++k) sums[k] = hn::MulAdd(left, lanes.Load(rows[k] + c), sums[k]);
  });
  TransposeBlocks(d, sums);
  auto total = sums[0];
  for (Index k = 1; k < kPerBlock<T>; ++k) total = hn::Add(total, sums[k]);
  const hn::CappedTag<T, static_cast<std::size_t>(kPerBlock<T>)> first;
  hn::StoreU(AddBlocks(d, total), first, to);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
