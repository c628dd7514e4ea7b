// What lag-column attention's forward and backward share. Positions go in strips; along a lag each position has a key
// of its own, and the keys of a strip stand side by side as its positions do: a lag is a shift of where rows are read.
// In products along lags lanes are features, whose sums come out with positions as lanes; in those with columns, which
// all positions share, lanes are positions throughout.
#if defined(SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_
#undef SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_
#else
#define SUBQUAD_KERNELS_LAG_COLUMN_ATTENTION_SHIFTED_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <limits>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/strip-inl.h"
#include "subquad/kernels/lag_column_attention/lag_column_attention.h"
#include "subquad/kernels/simd/heads.h"
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kRange = 512;  // positions per task, whole strips; each leaves sums of its own behind
static_assert(kRange % kStrip<float> == 0);

// The tasks of a head of `positions`.
inline Index RangeCount(Index positions) {
  return (positions + kRange - 1) / kRange;
}

// What a strip reads beyond the end is the start again: so many rows for n positions.
template <class T>
Index WrappedRows(Index n) {
  return n + kStrip<T>;
}

// Asks for the row that a loop over a head's rows reaches when it is done with this one and some more: such rows stand
// apart, and a loop over the vectors of each has no stride that the processor sees.
template <class T>
HWY_INLINE void PrefetchBehind(View<const T, 4> x, Index b, Index h, Index i, Index end) {
  constexpr Index kAhead = 12, kLine = 64 / sizeof(T);
  const T* row = &x(b, h, std::min(i + kAhead, end - 1), 0);
  for (Index e = 0; e < x.dim(3); e += kLine) hwy::Prefetch(row + e);
}

// The rows of one head, [WrappedRows(n)][width]: row x is scale * x[b, h, x mod n, :], filled up with zeros to whole
// vectors. A strip that starts at any position is contiguous.
template <class T>
class Shifted {
 public:
  Shifted(View<const T, 4> from, Index b, Index h, Index n, T scale = 1)
      : from_(from),
        b_(b),
        h_(h),
        n_(n),
        scale_(scale),
        width_(WholeVectors<T>(from.dim(3))),
        count_(n == 0 ? 0 : WrappedRows<T>(n)) {}

  // `memory` has room for size() numbers, on a cache line.
  void place(T* memory) { data_ = memory; }

  void pack(Index begin, Index end) {
    Index i = begin % n_;
    for (Index x = begin; x < end; ++x) {
      PrefetchBehind(from_, b_, h_, i, n_);
      PackRow(&from_(b_, h_, i, 0), from_.dim(3), scale_, data_ + x * width_);
      i = i + 1 == n_ ? 0 : i + 1;
    }
  }
  Index count() const { return count_; }
  Index width() const { return width_; }
  Index size() const { return count_ * width_; }
  const T* row(Index x) const { return data_ + x * width_; }

 private:
  View<const T, 4> from_;
  Index b_, h_, n_;
  T scale_;
  Index width_, count_;
  T* data_ = nullptr;
};

// Fills tensors of one head, whose rows lie in what it returns.
template <class T>
Buffer<T> PackAll(std::span<Shifted<T>> all) {
  Index size = 0;
  for (const Shifted<T>& one : all) size += one.size();
  Buffer<T> memory(size);
  T* next = memory.data();
  for (Shifted<T>& one : all) {
    one.place(next);
    next += one.size();
    parallel_chunks(one.count(), kRange, one.width(), [&](Index begin, Index end) { one.pack(begin, end); });
  }
  return memory;
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
    dropped.assign(static_cast<std::size_t>(WrappedRows<T>(n)), T(0));
    for (const Index lag : lags)
      for (Index x = (n - lag) % n; x < WrappedRows<T>(n); x += n)
        dropped[static_cast<std::size_t>(x)] = -std::numeric_limits<T>::infinity();
  }

  bool empty() const { return lags.empty() && columns.empty(); }

 private:
  static std::vector<Index> taken(const Tensor& all, Index head) {
    const Index* list = all.data<Index>() + head * all.dim(2);
    return {list, std::find(list, list + all.dim(2), Index(-1))};
  }
};

// Lags that are worked on together: of one strip after the other, so that rows which a lag reads are still in L2 when
// a smaller one gets there.
inline constexpr Index kLagsAtOnce = 16;

// Some of the lags as the strip at `first` meets them: where rows are read for its keys (or, with a sign of -1, for the
// queries whose keys stand in the strip).
struct Starts {
  Index count = 0;
  Index at[kLagsAtOnce];

  Starts(const std::vector<Index>& lags, Index from, Index first, Index sign, Index n)
      : count(std::min(kLagsAtOnce, static_cast<Index>(lags.size()) - from)) {
    for (Index s = 0; s < count; ++s) at[s] = (first + n + sign * lags[static_cast<std::size_t>(from + s)]) % n;
  }
};

// block[s][lane] = sum_e strip[lane][e] rows(starts[s] + lane, e); rows of the block up to the next multiple of
// kBlocksOf<T> are written, too. Rows of kVectors vectors, 0 = of any number: with a number the compiler needs few
// registers to say where each of them stands.
template <int kVectors, class T>
HWY_NOINLINE void ShiftedDotsOf(const T* strip, const Shifted<T>& rows, const Starts& starts, T* block) {
  const Vector<T> d;
  constexpr Index kTogether = kPerBlock<T>, kLags = kBlocksOf<T>;
  static_assert(kLagsAtOnce % kLags == 0);
  const Index width = kVectors > 0 ? kVectors * kLanes<T> : rows.width();
  for (Index s = 0; s < starts.count; s += kLags) {
    const T* from[kLags];
    T* to[kLanes<T>];
    for (Index l = 0; l < kLags; ++l) {
      from[l] = rows.row(starts.at[std::min(s + l, starts.count - 1)]);
      to[l * kTogether] = block + (s + l) * kStrip<T>;
    }
    for (Index lane = 0; lane < kStrip<T>; lane += kTogether) {
      hn::Vec<Vector<T>> sum[kLags][kTogether];
      for (auto& sums : sum)
        for (auto& one : sums) one = hn::Zero(d);
      for (Index e = 0; e < width; e += kLanes<T>)
        for (Index r = 0; r < kTogether; ++r) {
          const Index at = (lane + r) * width + e;
          const auto left = hn::Load(d, strip + at);
          for (Index l = 0; l < kLags; ++l) sum[l][r] = hn::MulAdd(left, hn::Load(d, from[l] + at), sum[l][r]);
        }
      hn::Vec<Vector<T>> dots[kLags];
      for (Index l = 0; l < kLags; ++l) dots[l] = AddInsideBlocks(d, sum[l]);
      StoreBlocks(d, AddBlocksOf(d, dots), to, lane);
    }
  }
}

// The weights of a strip, a row of lanes for each of its lags.
template <class T>
struct LagWeights {
  const T* of[kLagsAtOnce];

  explicit LagWeights(const T* block) {
    for (Index s = 0; s < kLagsAtOnce; ++s) of[s] = block + s * kStrip<T>;
  }
  // Those that stand in rows of all positions, from `starts` on.
  LagWeights(const T* rows, Index row_size, const Starts& starts) {
    for (Index s = 0; s < starts.count; ++s) of[s] = rows + s * row_size + starts.at[s];
  }
};

// sums[lane][e] += sum_s weights[s][lane] rows(starts[s] + lane, e), in the order of s, for R lanes and V vectors of e.
template <int R, int V, class T>
HWY_INLINE void ShiftedSumsTile(const LagWeights<T>& weights, const Shifted<T>& rows, const Starts& starts, Index width,
                                Index lane, Index e, T* sums) {
  const Vector<T> d;
  const T* from = rows.row(0) + lane * width + e;
  T* to = sums + lane * width + e;
  hn::Vec<Vector<T>> sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = hn::Load(d, to + r * width + v * kLanes<T>);
  for (Index s = 0; s < starts.count; ++s) {
    const T* row = from + starts.at[s] * width;
    const T* weight = weights.of[s] + lane;
    for (int r = 0; r < R; ++r) {
      const auto factor = hn::Set(d, weight[r]);
      for (int v = 0; v < V; ++v)
        sum[r][v] = hn::MulAdd(factor, hn::Load(d, row + r * width + v * kLanes<T>), sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) hn::Store(sum[r][v], d, to + r * width + v * kLanes<T>);
}

template <int kVectors, class T>
HWY_NOINLINE void ShiftedSumsOf(const LagWeights<T>& weights, const Shifted<T>& rows, const Starts& starts, T* sums) {
  constexpr int kTogether = kStrip<T> < 4 ? 2 : 4;  // with two vectors as many chains of sums as hide their latency
  const Index width = kVectors > 0 ? kVectors * kLanes<T> : rows.width();
  for (Index lane = 0; lane < kStrip<T>; lane += kTogether) {
    Index e = 0;
    for (; e + kStrip<T> <= width; e += kStrip<T>)
      ShiftedSumsTile<kTogether, 2>(weights, rows, starts, width, lane, e, sums);
    if (e < width) ShiftedSumsTile<kTogether, 1>(weights, rows, starts, width, lane, e, sums);
  }
}

template <class T>
HWY_INLINE void ShiftedDots(const T* strip, const Shifted<T>& rows, const Starts& starts, T* block) {
  switch (rows.width() / kLanes<T>) {
    case 1: return ShiftedDotsOf<1>(strip, rows, starts, block);
    case 2: return ShiftedDotsOf<2>(strip, rows, starts, block);
    case 4: return ShiftedDotsOf<4>(strip, rows, starts, block);
    default: return ShiftedDotsOf<0>(strip, rows, starts, block);
  }
}

template <class T>
HWY_INLINE void ShiftedSums(const LagWeights<T>& weights, const Shifted<T>& rows, const Starts& starts, T* sums) {
  switch (rows.width() / kLanes<T>) {
    case 1: return ShiftedSumsOf<1>(weights, rows, starts, sums);
    case 2: return ShiftedSumsOf<2>(weights, rows, starts, sums);
    case 4: return ShiftedSumsOf<4>(weights, rows, starts, sums);
    default: return ShiftedSumsOf<0>(weights, rows, starts, sums);
  }
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

// Rows of x [b, h] filled up with zeros to whole vectors, as in Shifted.
template <class T>
struct PaddedRows {
  Index width;
  Buffer<T> memory;

  PaddedRows(View<const T, 4> x, Index b, Index h, std::span<const Index> positions)
      : width(WholeVectors<T>(x.dim(3))), memory(static_cast<Index>(positions.size()) * width) {
    memory.zero();
    for (std::size_t s = 0; s < positions.size(); ++s)
      std::copy_n(&x(b, h, positions[s], 0), x.dim(3), memory.data() + static_cast<Index>(s) * width);
  }
  const T* row(Index s) const { return memory.data() + s * width; }
};

// Columns [from, from + count) of a head as the strip of queries at `first` meets them: logits of kStrip queries each.
// `k_rows` are the columns' keys, `strip` the scaled queries [E][lanes].
template <class T>
HWY_INLINE void ColumnLogits(const Chosen<T>& chosen, Index from, Index count, Index first, const PaddedRows<T>& k_rows,
                             const T* strip, Index width, T* block) {
  const Vector<T> d;
  Product<2, false>(d, count, Left<T>{k_rows.row(from), k_rows.width, 1}, Panel<const T>{strip, kStrip<T>}, width,
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

// sums[lane][e] += sum_s block[s][lane] rows(from + s, e), in the order of s.
template <class T>
HWY_INLINE void ColumnSums(const T* block, const PaddedRows<T>& rows, Index from, Index count, T* sums) {
  const Vector<T> d;
  const Left<T> left{block, 1, kStrip<T>};
  const Index width = rows.width;
  Index e = 0;
  for (; e + kStrip<T> <= width; e += kStrip<T>)
    Product<2, true>(d, kStrip<T>, left, Panel<const T>{rows.row(from) + e, width}, count, Panel<T>{sums + e, width});
  if (e < width)
    Product<1, true>(d, kStrip<T>, left, Panel<const T>{rows.row(from) + e, width}, count, Panel<T>{sums + e, width});
}

// Positions of a task: `end` is that of the head or of the range.
struct Range {
  Index begin, end;
};

// Rows of a range's positions in whole strips, padded as in Shifted; those beyond the end are 0.
template <class T>
class RangeRows {
 public:
  explicit RangeRows(Index width) : width_(WholeVectors<T>(width)), memory_(kRange * width_) {}

  void load(View<const T, 4> x, Index b, Index h, Range range, T scale) {
    for (Index i = range.begin; i < range.end; ++i) {
      PrefetchBehind(x, b, h, i, range.end);
      PackRow(&x(b, h, i, 0), x.dim(3), scale, row(i - range.begin));
    }
    std::fill_n(row(range.end - range.begin), (kRange - (range.end - range.begin)) * width_, T(0));
  }
  void zero() { memory_.zero(); }
  void store(Index r, T scale, T* to, Index width) const {
    const Vector<T> d;
    const T* from = row(r);
    const auto factor = hn::Set(d, scale);
    ForVectors(d, width,
               [&](Index e, auto lanes) HWY_ATTR { lanes.Store(hn::Mul(factor, lanes.Load(from + e)), to + e); });
  }
  T* row(Index r) const { return memory_.data() + r * width_; }
  Index width() const { return width_; }

 private:
  Index width_;
  Buffer<T> memory_;
};

// strip[e][lane] = rows[lane][e] for e < width
template <class T>
HWY_INLINE void TurnStrip(const T* rows, Index row_width, Index width, T* strip) {
  StripRows<const T> of(rows);
  for (Index lane = 0; lane < kStrip<T>; ++lane) of.row[lane] = rows + lane * row_width;
  LoadStrip(of, width, T(1), strip);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
