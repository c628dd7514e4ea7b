// What a factor does to a row, and what its transpose does: sums of weighted rows, and products of one row with many.
// Include inside the per-target part of a kernel (after targets.h and hwy/highway.h); everything lives in
// subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_
#undef SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_
#else
#define SUBQUAD_KERNELS_CHORD_MATMUL_ROWS_INL_H_
#endif

#include <hwy/cache_control.h>
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

// Where rows of a result go: into `cached` when there is one, and by streaming stores into `streamed` when there is
// one, which is aligned and has rows of whole vectors.
template <class T>
struct Destination {
  T* cached;
  T* streamed;

  template <class Lanes, class V>
  HWY_INLINE void Store(const Lanes& lanes, V value, Index at) const {
    if (cached != nullptr) lanes.Store(value, cached + at);
    if (streamed != nullptr) hn::Stream(value, hn::DFromV<V>(), streamed + at);
  }
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
  Destination<T> to;
};

// kRows rows from row i on, kVectors vectors from column c on.
template <int kRows, int kVectors, class Lanes, class D, class T = hn::TFromD<D>>
HWY_INLINE void WeighTile(D d, const Lanes& lanes, const Weighing<T>& w, Index i, Index c) {
  constexpr Index kLanes = hn::MaxLanes(d);
  const Index at = i * w.width + c;
  const T *weights[kRows], *from[kRows];  // of every row, so that links add one index to both
  for (int r = 0; r < kRows; ++r) {
    weights[r] = w.weights + (i + r) * w.weight_row;
    from[r] = w.from + at + r * w.width;
  }
  hn::Vec<D> sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = w.start != nullptr ? lanes.Load(w.start + at + r * w.width + v * kLanes) : hn::Zero(d);
  for (Index a = 0; a < w.count; ++a) {
    const Index weight_at = w.weight_at[a], row_at = w.row_at[a];
    for (int r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, weights[r][weight_at]);
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = hn::MulAdd(factor, lanes.Load(from[r] + row_at + v * kLanes), sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) w.to.Store(lanes, sum[r][v], at + r * w.width + v * kLanes);
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

// Rows of the transposed factor, and of its gradient. What link a of row j weighs is row row_at[a] further on in `up`,
// by a weight weight_at[a] further on than row j's:
//   to[j] = start[j] + sum_a weight(j, a) up(j, a)      no start is 0
//   dweight(j, a) = sum_c up(j, a)[c] from[j][c]
// A row of `up` is read once for both, and only rows of `up` stand far apart.
template <class T>
struct Returning {
  Index count;
  const T* weights;
  T* dweights;
  Index weight_row;
  const Index* weight_at;
  const T* up;
  Index width;
  const Index* row_at;
  const T* from;
  const T* start;
  Destination<T> to;
};

// The links [a, a + kLinks) of a strip of row j: `sum` of what they weigh, `dot` of their products with `value`.
template <int kLinks, class Strip, class D, class T = hn::TFromD<D>>
HWY_INLINE void ReturnLinks(D d, const Strip& strip, const Returning<T>& r, Index j, Index column, Index a,
                            const hn::Vec<D>* value, hn::Vec<D>* sum, hn::Vec<D>* dot) {
  const T* weights = r.weights + j * r.weight_row;
  const T* rows = r.up + j * r.width + column;
  for (int k = 0; k < kLinks; ++k) {
    const auto weight = hn::Set(d, weights[r.weight_at[a + k]]);
    const T* row = rows + r.row_at[a + k];
    for (int v = 0; v < Strip::kVectors; ++v) {
      const auto up = strip.Load(row, v);
      sum[v] = hn::MulAdd(weight, up, sum[v]);
      dot[k] = v == 0 ? hn::Mul(up, value[v]) : hn::MulAdd(up, value[v], dot[k]);
    }
  }
}

// As many of the next kMost links as there are; lane k of every block of the result belongs to link a + k.
template <int kMost, class Strip, class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> ReturnBlock(D d, const Strip& strip, const Returning<T>& r, Index j, Index column, Index a,
                                  const hn::Vec<D>* value, hn::Vec<D>* sum) {
  if constexpr (kMost == 0) {
    return hn::Zero(d);
  } else {
    if (r.count - a < kMost) return ReturnBlock<kMost - 1>(d, strip, r, j, column, a, value, sum);
    hn::Vec<D> dot[kPerBlock<T>];
    for (Index k = kMost; k < kPerBlock<T>; ++k) dot[k] = hn::Zero(d);
    ReturnLinks<kMost>(d, strip, r, j, column, a, value, sum, dot);
    return AddInsideBlocks(d, dot);
  }
}

// How many rows of `from` ahead are asked for: among as many streams as links the processor does not foresee that one.
inline constexpr Index kAhead = 8;

// dots: room for whole vectors of `count` numbers, aligned.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void ReturnRow(D d, const Returning<T>& r, Index j, T* dots) {
  constexpr Index kLanes = hn::MaxLanes(d);
  ForStrips(d, r.width, [&](Index c, auto strip) HWY_ATTR {
    constexpr int kVectors = decltype(strip)::kVectors;
    const Index at = j * r.width + c;
    hn::Vec<D> value[kVectors], sum[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      hwy::Prefetch(r.from + at + kAhead * r.width + v * kLanes);
      value[v] = strip.Load(r.from + at, v);
      sum[v] = r.start != nullptr ? strip.Load(r.start + at, v) : hn::Zero(d);
    }
    for (Index a = 0; a < r.count; a += kLanes) {
      hn::Vec<D> inside[kBlocksOf<T>];
      for (Index g = 0; g < kBlocksOf<T>; ++g)
        inside[g] = ReturnBlock<kPerBlock<T>>(d, strip, r, j, c, a + g * kPerBlock<T>, value, sum);
      const auto total = AddBlocksOf(d, inside);
      hn::Store(c == 0 ? total : hn::Add(total, hn::Load(d, dots + a)), d, dots + a);
    }
    for (int v = 0; v < kVectors; ++v) r.to.Store(strip.lanes, sum[v], at + v * kLanes);
  });
  T* dweights = r.dweights + j * r.weight_row;
  for (Index a = 0; a < r.count; ++a) dweights[r.weight_at[a]] = dots[a];
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
