// What lag-column attention's forward and backward share. Lanes are positions, a strip of them side by side. Along a
// lag each lane has a key of its own, and these, too, stand side by side: with the features of all positions as rows
// [E][n], a lag is a shift of where a row is read.
#if defined(SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_
#undef SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_
#else
#define SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/strip-inl.h"
#include "subquad/kernels/lag_column_attention/lag_column_attention.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kStripsPerTask = 16;
template <class T>
inline constexpr Index kRange = kStripsPerTask* kStrip<T>;  // positions per task: 512 with AVX-512 in float32

// The tasks of a head of `positions`: ranges of kRange.
template <class T>
Index RangeCount(Index positions) {
  return (positions + kRange<T> - 1) / kRange<T>;
}

// What a strip reads beyond the end is the start again: rows have so many columns for n positions. A row never is a
// multiple of a page, or all rows of a column would share one set of the cache.
template <class T>
Index WrappedColumns(Index n) {
  return n + kStrip<T>;
}
template <class T>
Index WrappedRow(Index n) {
  const Index row = WholeVectors<T>(WrappedColumns<T>(n));
  return row % (4 * kStrip<T>) == 0 ? row + kLanes<T> : row;
}

// Features of all positions of one head as rows: at(e, x) = scale * x[b, h, x mod n, e]
template <class T>
class Shifted {
 public:
  Shifted(View<const T, 4> from, Index b, Index h, Index n, T scale = 1)
      : from_(from),
        b_(b),
        h_(h),
        n_(n),
        scale_(scale),
        row_(WrappedRow<T>(n)),
        memory_(n == 0 ? 0 : row_ * from.dim(3)) {}

  // Column blocks [begin, end) of kLanes; all of them: 0 ... blocks().
  void pack(Index begin, Index end) {
    const Vector<T> d;
    for (Index block = begin; block < end; ++block) {
      const T* rows[kLanes<T>];
      for (Index lane = 0; lane < kLanes<T>; ++lane) rows[lane] = &from_(b_, h_, (block * kLanes<T> + lane) % n_, 0);
      RowsToLanes(d, rows, from_.dim(3), hn::Set(d, scale_), memory_.data() + block * kLanes<T>, row_);
    }
  }
  Index blocks() const { return n_ == 0 ? 0 : WholeVectors<T>(WrappedColumns<T>(n_)) / kLanes<T>; }

  const T* at(Index e, Index x) const { return memory_.data() + e * row_ + x; }
  Index row() const { return row_; }

 private:
  View<const T, 4> from_;
  Index b_, h_, n_;
  T scale_;
  Index row_;
  Buffer<T> memory_;
};

template <class T>
void PackAll(std::vector<Shifted<T>>& heads) {
  constexpr Index kBlocks = 64;  // per task
  Index most = 0;
  for (const Shifted<T>& head : heads) most = std::max(most, head.blocks());
  const Index tasks = (most + kBlocks - 1) / kBlocks;
  parallel_for(static_cast<Index>(heads.size()) * tasks, kBlocks * kStrip<T> * 8, [&](Index task) {
    Shifted<T>& head = heads[static_cast<std::size_t>(task / tasks)];
    const Index begin = task % tasks * kBlocks;
    head.pack(begin, std::min(head.blocks(), begin + kBlocks));
  });
}

// What one head has chosen.
template <class T>
struct Chosen {
  Index n = 0;  // positions of the sample
  std::vector<Index> lags, columns;
  const T *lag_score = nullptr, *col_score = nullptr;  // [N], null = none
  // Added to the logit of column c at query i: dropped[(i - c) mod n] = -inf where a lag gives the same key, else 0.
  std::vector<T> dropped;

  Chosen(const LagColumns& all, const LagColumnScores& scores, const Mask& mask, Index positions, Index head)
      : n(mask.defined() ? mask.lengths.data<Index>()[head / all.lags.dim(1)] : positions),
        lags(taken(all.lags, head)),
        columns(taken(all.columns, head)),
        lag_score(scores.lag.defined() ? scores.lag.data<T>() + head * positions : nullptr),
        col_score(scores.col.defined() ? scores.col.data<T>() + head * positions : nullptr) {
    if (columns.empty()) return;
    dropped.assign(static_cast<std::size_t>(WrappedColumns<T>(n)), T(0));
    for (const Index lag : lags)
      for (Index x = (n - lag) % n; x < WrappedColumns<T>(n); x += n)
        dropped[static_cast<std::size_t>(x)] = -std::numeric_limits<T>::infinity();
  }

  bool empty() const { return lags.empty() && columns.empty(); }

 private:
  static std::vector<Index> taken(const Tensor& all, Index head) {
    const Index* list = all.data<Index>() + head * all.dim(2);
    return {list, std::find(list, list + all.dim(2), Index(-1))};
  }
};

// Up to kBlock lags as the strip at `first` meets them: where rows are read for its keys (or, with a sign of -1, for
// the queries whose keys stand in the strip).
struct Starts {
  Index count = 0;
  Index at[kBlock];

  Starts(const std::vector<Index>& lags, std::size_t from, Index first, Index sign, Index n)
      : count(std::min<Index>(kBlock, static_cast<Index>(lags.size() - from))) {
    for (Index s = 0; s < count; ++s) at[s] = (first + n + sign * lags[from + static_cast<std::size_t>(s)]) % n;
  }
};

// block[s][lane] = sum_e strip[e][lane] rows(e, starts[s] + lane) for R starts, in the order of e.
template <int R, class T>
HWY_INLINE void ShiftedDotsTile(const T* strip, const Shifted<T>& rows, const Index* starts, Index depth, T* block) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[R][2];
  const T* from[R];
  for (int r = 0; r < R; ++r) {
    sum[r][0] = sum[r][1] = hn::Zero(d);
    from[r] = rows.at(0, starts[r]);
  }
  for (Index e = 0; e < depth; ++e) {
    const auto a = hn::Load(d, strip + e * kStrip<T>), b = hn::Load(d, strip + e * kStrip<T> + kLanes<T>);
    for (int r = 0; r < R; ++r) {
      const T* row = from[r] + e * rows.row();
      sum[r][0] = hn::MulAdd(a, hn::LoadU(d, row), sum[r][0]);
      sum[r][1] = hn::MulAdd(b, hn::LoadU(d, row + kLanes<T>), sum[r][1]);
    }
  }
  for (int r = 0; r < R; ++r) {
    hn::Store(sum[r][0], d, block + r * kStrip<T>);
    hn::Store(sum[r][1], d, block + r * kStrip<T> + kLanes<T>);
  }
}

template <class T>
HWY_INLINE void ShiftedDots(const T* strip, const Shifted<T>& rows, const Starts& starts, Index depth, T* block) {
  Index s = 0;
  for (; s + kTileRows <= starts.count; s += kTileRows)
    ShiftedDotsTile<kTileRows>(strip, rows, starts.at + s, depth, block + s * kStrip<T>);
  for (; s < starts.count; ++s) ShiftedDotsTile<1>(strip, rows, starts.at + s, depth, block + s * kStrip<T>);
}

// sum[e][lane] += sum_s block[s][lane] rows(e, starts[s] + lane) for R rows e, in the order of s.
template <int R, class T>
HWY_INLINE void ShiftedSumsTile(const T* block, const Shifted<T>& rows, Index e, const Starts& starts, T* sums) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[R][2];
  for (int r = 0; r < R; ++r) {
    sum[r][0] = hn::Load(d, sums + (e + r) * kStrip<T>);
    sum[r][1] = hn::Load(d, sums + (e + r) * kStrip<T> + kLanes<T>);
  }
  for (Index s = 0; s < starts.count; ++s) {
    const auto a = hn::Load(d, block + s * kStrip<T>), b = hn::Load(d, block + s * kStrip<T> + kLanes<T>);
    const T* from = rows.at(e, starts.at[s]);
    for (int r = 0; r < R; ++r) {
      const T* row = from + r * rows.row();
      sum[r][0] = hn::MulAdd(a, hn::LoadU(d, row), sum[r][0]);
      sum[r][1] = hn::MulAdd(b, hn::LoadU(d, row + kLanes<T>), sum[r][1]);
    }
  }
  for (int r = 0; r < R; ++r) {
    hn::Store(sum[r][0], d, sums + (e + r) * kStrip<T>);
    hn::Store(sum[r][1], d, sums + (e + r) * kStrip<T> + kLanes<T>);
  }
}

template <class T>
HWY_INLINE void ShiftedSums(const T* block, const Shifted<T>& rows, const Starts& starts, Index width, T* sums) {
  Index e = 0;
  for (; e + kTileRows <= width; e += kTileRows) ShiftedSumsTile<kTileRows>(block, rows, e, starts, sums);
  for (; e < width; ++e) ShiftedSumsTile<1>(block, rows, e, starts, sums);
}

// block[s][:] += score[slots[s]]; nothing without scores.
template <class T>
HWY_INLINE void AddScores(const T* score, const Index* slots, Index count, T* block) {
  const Vector<T> d;
  if (score == nullptr) return;
  for (Index s = 0; s < count; ++s)
    for (Index lane = s * kStrip<T>; lane < (s + 1) * kStrip<T>; lane += kLanes<T>)
      hn::Store(hn::Add(hn::Load(d, block + lane), hn::Set(d, score[slots[s]])), d, block + lane);
}

// Columns [from, from + count) of a head as the strip of queries at `first` meets them: logits of kStrip queries each.
// `k_rows` are the columns' keys [count][E], `strip` the scaled queries [E][lanes].
template <class T>
HWY_INLINE void ColumnLogits(const Chosen<T>& chosen, Index from, Index count, Index first, const T* k_rows,
                             const T* strip, Index width, T* block) {
  const Vector<T> d;
  Product<2, false>(d, count, Left<T>{k_rows, width, 1}, Panel<const T>{strip, kStrip<T>}, width,
                    Panel<T>{block, kStrip<T>});
  const Index* columns = chosen.columns.data() + from;
  AddScores(chosen.col_score, columns, count, block);
  for (Index s = 0; s < count; ++s) {
    const T* dropped = chosen.dropped.data() + (first - columns[s] + chosen.n) % chosen.n;
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
      T* logit = block + s * kStrip<T> + lane;
      hn::Store(hn::Add(hn::Load(d, logit), hn::LoadU(d, dropped + lane)), d, logit);
    }
  }
}

// Rows 0 <= i < n of a strip at `first`; beyond them lanes point to `spare`, as in StripRows.
template <class T>
StripRows<T> RowsOf(View<T, 4> x, Index b, Index h, Index first, Index count, T* spare) {
  Index positions[kStrip<T>];
  for (Index lane = 0; lane < count; ++lane) positions[lane] = first + lane;
  return {x, b, h, {positions, static_cast<std::size_t>(count)}, spare};
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
