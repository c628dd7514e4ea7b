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
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// The rows [first, last) of a factor in runs along which every link keeps its distance: inside a run nothing is wrapped
// and no link drops out. for (Runs run(...); run.next();) use the rows [run.begin(), run.end()).
class Runs {
 public:
  Runs(const Links& links, Index first, Index last, Index positions)
      : links_(links), last_(last), positions_(positions), end_(first) {
    links_there_.reserve(static_cast<std::size_t>(links.count()));
    distances_.reserve(static_cast<std::size_t>(links.count()));
  }

  bool next() {
    begin_ = end_;
    if (begin_ == last_) return false;
    end_ = last_;
    links_there_.clear();
    distances_.clear();
    for (Index k = 0; k < links_.count(); ++k) {
      const Index column = linked_column(links_, begin_, k, positions_);
      const Index offset = links_.offsets[static_cast<std::size_t>(k)];
      if (links_.rule == LinkRule::flip && offset != 0) {  // flips the same bits up to the next multiple of the lowest
        const Index lowest = offset & -offset;
        end_ = std::min(end_, (begin_ | (lowest - 1)) + 1);
      }
      if (column < 0) continue;
      end_ = std::min(end_, begin_ + positions_ - column);
      links_there_.push_back(k);
      distances_.push_back(column - begin_);
    }
    return true;
  }

  Index begin() const { return begin_; }
  Index end() const { return end_; }
  Index count() const { return static_cast<Index>(distances_.size()); }
  const std::vector<Index>& links() const { return links_there_; }    // those that do not drop out
  const std::vector<Index>& distances() const { return distances_; }  // from the row to their columns

 private:
  const Links& links_;
  Index last_, positions_;
  Index begin_ = 0, end_;
  std::vector<Index> links_there_, distances_;
};

// to[i] = start[i] + sum_a weights[i * weight_row + weight_at[a]] from[i * width + row_at[a]] for rows i of `width`
// numbers; no start is 0. Each element is one chain of multiply-adds in the order of a.
template <class T>
struct Weighing {
  Index count;
  const T* weights;
  Index weight_row;
  const Index* weight_at;
  const T* from;
  Index width;
  const Index* row_at;
  const T* start;
  T* to;
  bool past_caches;  // written by streaming stores: `to` is aligned and `width` is in whole vectors
};

// kRows rows from row i on, kVectors vectors from column c on.
template <int kRows, int kVectors, class Lanes, class D, class T = hn::TFromD<D>>
HWY_INLINE void WeighTile(D d, const Lanes& lanes, const Weighing<T>& w, Index i, Index c) {
  constexpr Index kLanes = hn::MaxLanes(d);
  const Index at = i * w.width + c;
  hn::Vec<D> sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = w.start != nullptr ? lanes.Load(w.start + at + r * w.width + v * kLanes) : hn::Zero(d);
  for (Index a = 0; a < w.count; ++a) {
    const T* weight = w.weights + i * w.weight_row + w.weight_at[a];
    const T* row = w.from + at + w.row_at[a];
    for (int r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, weight[r * w.weight_row]);
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = hn::MulAdd(factor, lanes.Load(row + r * w.width + v * kLanes), sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) {
      T* to = w.to + at + r * w.width + v * kLanes;
      if (w.past_caches)
        hn::Stream(sum[r][v], d, to);
      else
        lanes.Store(sum[r][v], to);
    }
}

// All columns of kRows rows, up to four vectors at a time.
template <int kRows, class D, class T = hn::TFromD<D>>
HWY_INLINE void WeighRows(D d, const Weighing<T>& w, Index i) {
  constexpr Index kLanes = hn::MaxLanes(d);
  const WholeVector<D> whole;
  Index c = 0;
  for (; c + 4 * kLanes <= w.width; c += 4 * kLanes) WeighTile<kRows, 4>(d, whole, w, i, c);
  for (; c + 2 * kLanes <= w.width; c += 2 * kLanes) WeighTile<kRows, 2>(d, whole, w, i, c);
  for (; c + kLanes <= w.width; c += kLanes) WeighTile<kRows, 1>(d, whole, w, i, c);
  if constexpr (kLanes > 1)
    if (c < w.width) {
      const PartVector<D> part{hn::FirstN(d, static_cast<std::size_t>(w.width - c))};
      WeighTile<kRows, 1>(d, part, w, i, c);
    }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void WeighRange(D d, const Weighing<T>& w, Index begin, Index end) {
  constexpr int kTogether = HWY_TARGET == HWY_AVX3 ? 4 : 2;
  Index i = begin;
  for (; i + kTogether <= end; i += kTogether) WeighRows<kTogether>(d, w, i);
  for (; i < end; ++i) WeighRows<1>(d, w, i);
}

// Products of kRows neighbouring rows with as many rows of `other` each, kPerBlock in all. Inside every block of the
// result, lane r (kPerBlock / kRows) + k is what that block adds to sum_c row[r width + c] other[row_at[k] + r width +
// c].
template <int kRows, class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> DotGroup(D d, const T* row, const T* other, const Index* row_at, Index width) {
  constexpr Index kEach = kPerBlock<T> / kRows;
  hn::Vec<D> sums[kPerBlock<T>];
  for (auto& sum : sums) sum = hn::Zero(d);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    for (Index r = 0; r < kRows; ++r) {
      const auto left = lanes.Load(row + r * width + c);
      for (Index k = 0; k < kEach; ++k)
        sums[r * kEach + k] = hn::MulAdd(left, lanes.Load(other + row_at[k] + r * width + c), sums[r * kEach + k]);
    }
  });
  return AddInsideBlocks(d, sums);
}

// Lane a is sum_c row[c] other[row_at[a] + c] for the first `groups` times kPerBlock lanes, at most a whole vector.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> DotVector(D d, const T* row, const T* other, const Index* row_at, Index groups, Index width) {
  hn::Vec<D> inside[kBlocksOf<T>];
  for (Index g = 0; g < kBlocksOf<T>; ++g)
    inside[g] = g < groups ? DotGroup<1>(d, row, other, row_at + g * kPerBlock<T>, width) : hn::Zero(d);
  return AddBlocksOf(d, inside);
}

// Two links a row: half as many neighbouring rows as lanes; lane 2 r + k is row r with its link k.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> DotPairs(D d, const T* row, const T* other, const Index* row_at, Index width) {
  constexpr Index kRows = kPerBlock<T> / 2;
  hn::Vec<D> inside[kBlocksOf<T>];
  for (Index g = 0; g < kBlocksOf<T>; ++g)
    inside[g] = DotGroup<kRows>(d, row + g * kRows * width, other + g * kRows * width, row_at, width);
  return AddBlocksOf(d, inside);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
