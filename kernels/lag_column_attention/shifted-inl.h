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

inline constexpr Index kRange = 512;  // positions per task, whole strips; each leaves sums of its own behind
static_assert(kRange % kStrip<float> == 0);

// The tasks of a head of `positions`.
inline Index RangeCount(Index positions) {
  return (positions + kRange - 1) / kRange;
}

// What a strip reads beyond the end is the start again: rows have so many columns for n positions.
template <class T>
Index WrappedColumns(Index n) {
  return n + kStrip<T>;
}

// Features of all positions of one head as rows, cut into blocks of one vector's columns: [blocks][E][kLanes], where
// element (e, x) is scale * x[b, h, x mod n, e]. A strip that starts anywhere lies in three blocks side by side: what
// is read is contiguous, and each line of the cache is needed whole.
template <class T>
class Shifted {
 public:
  Shifted(View<const T, 4> from, Index b, Index h, Index n, T scale = 1)
      : from_(from),
        b_(b),
        h_(h),
        n_(n),
        scale_(scale),
        width_(from.dim(3)),
        blocks_(n == 0 ? 0 : (n - 1) / kLanes<T> + 3),
        memory_(blocks_ * width_ * kLanes<T>) {}

  void pack(Index begin, Index end) {  // blocks
    const Vector<T> d;
    for (Index block = begin; block < end; ++block) {
      const T* rows[kLanes<T>];
      for (Index lane = 0; lane < kLanes<T>; ++lane) rows[lane] = &from_(b_, h_, (block * kLanes<T> + lane) % n_, 0);
      RowsToLanes(d, rows, width_, hn::Set(d, scale_), memory_.data() + block * width_ * kLanes<T>, kLanes<T>);
    }
  }
  Index blocks() const { return blocks_; }
  const T* block(Index x) const { return memory_.data() + x / kLanes<T> * width_ * kLanes<T>; }  // that holds column x
  Index width() const { return width_; }

 private:
  View<const T, 4> from_;
  Index b_, h_, n_;
  T scale_;
  Index width_, blocks_;
  Buffer<T> memory_;
};

// Reads a strip that starts at column x: row e of three blocks, turned by the same number of lanes and joined.
template <class T>
struct ShiftedReader {
  using V = hn::Vec<Vector<T>>;
  const T* first;
  Index step;
  decltype(hn::SetTableIndices(Vector<T>(), static_cast<const hwy::MakeSigned<T>*>(nullptr))) turn;
  hn::Mask<Vector<T>> before;  // lanes that come from the block before

  HWY_INLINE ShiftedReader() = default;
  HWY_INLINE void start(const Shifted<T>& rows, Index x) {
    const Vector<T> d;
    HWY_ALIGN hwy::MakeSigned<T> lanes[kLanes<T>];
    const Index shift = x % kLanes<T>;
    for (Index lane = 0; lane < kLanes<T>; ++lane)
      lanes[lane] = static_cast<hwy::MakeSigned<T>>((lane + shift) % kLanes<T>);
    turn = hn::SetTableIndices(d, lanes);
    before = hn::FirstN(d, static_cast<std::size_t>(kLanes<T> - shift));
    first = rows.block(x);
    step = rows.width() * kLanes<T>;
  }
  HWY_INLINE void read(Index e, V& a, V& b) const {
    const Vector<T> d;
    const T* row = first + e * kLanes<T>;
    const auto x = hn::TableLookupLanes(hn::Load(d, row), turn),
               y = hn::TableLookupLanes(hn::Load(d, row + step), turn),
               z = hn::TableLookupLanes(hn::Load(d, row + 2 * step), turn);
    a = hn::IfThenElse(before, x, y);
    b = hn::IfThenElse(before, y, z);
  }
};

// Lags, or features, that are worked on together.
inline constexpr int kShiftTile = HWY_TARGET == HWY_AVX3 ? 4 : 2;

template <class T>
void PackAll(std::vector<Shifted<T>>& heads) {
  constexpr Index kBlocks = 32;  // per task
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

// Up to `most` lags as the strip at `first` meets them: where rows are read for its keys (or, with a sign of -1, for
// the queries whose keys stand in the strip).
struct Starts {
  Index count = 0;
  Index at[kBlock];

  Starts(const std::vector<Index>& lags, std::size_t from, Index first, Index sign, Index n, Index most = kBlock)
      : count(std::min<Index>(most, static_cast<Index>(lags.size() - from))) {
    for (Index s = 0; s < count; ++s) at[s] = (first + n + sign * lags[from + static_cast<std::size_t>(s)]) % n;
  }
};

// block[s][lane] = sum_e strip[e][lane] rows(e, starts[s] + lane) for R starts, in the order of e.
template <int R, class T>
HWY_INLINE void ShiftedDotsTile(const T* strip, const Shifted<T>& rows, const Index* starts, T* block) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[R][2];
  ShiftedReader<T> reader[R];
  for (int r = 0; r < R; ++r) {
    sum[r][0] = sum[r][1] = hn::Zero(d);
    reader[r].start(rows, starts[r]);
  }
  for (Index e = 0; e < rows.width(); ++e) {
    const auto a = hn::Load(d, strip + e * kStrip<T>), b = hn::Load(d, strip + e * kStrip<T> + kLanes<T>);
    for (int r = 0; r < R; ++r) {
      hn::Vec<Vector<T>> x, y;
      reader[r].read(e, x, y);
      sum[r][0] = hn::MulAdd(a, x, sum[r][0]);
      sum[r][1] = hn::MulAdd(b, y, sum[r][1]);
    }
  }
  for (int r = 0; r < R; ++r) {
    hn::Store(sum[r][0], d, block + r * kStrip<T>);
    hn::Store(sum[r][1], d, block + r * kStrip<T> + kLanes<T>);
  }
}

template <class T>
HWY_INLINE void ShiftedDots(const T* strip, const Shifted<T>& rows, const Starts& starts, T* block) {
  Index s = 0;
  for (; s + kShiftTile <= starts.count; s += kShiftTile)
    ShiftedDotsTile<kShiftTile>(strip, rows, starts.at + s, block + s * kStrip<T>);
  for (; s < starts.count; ++s) ShiftedDotsTile<1>(strip, rows, starts.at + s, block + s * kStrip<T>);
}

// sums[e][lane] += sum_s block[s][lane] rows(e, starts[s] + lane), in the order of s, R slots in one pass over e.
template <int R, class T>
HWY_INLINE void ShiftedSumsTile(const T* block, const Shifted<T>& rows, const Index* starts, T* sums) {
  const Vector<T> d;
  hn::Vec<Vector<T>> weight[R][2];
  ShiftedReader<T> reader[R];
  for (int r = 0; r < R; ++r) {
    weight[r][0] = hn::Load(d, block + r * kStrip<T>);
    weight[r][1] = hn::Load(d, block + r * kStrip<T> + kLanes<T>);
    reader[r].start(rows, starts[r]);
  }
  for (Index e = 0; e < rows.width(); ++e) {
    T* sum = sums + e * kStrip<T>;
    auto a = hn::Load(d, sum), b = hn::Load(d, sum + kLanes<T>);
    for (int r = 0; r < R; ++r) {
      hn::Vec<Vector<T>> x, y;
      reader[r].read(e, x, y);
      a = hn::MulAdd(weight[r][0], x, a);
      b = hn::MulAdd(weight[r][1], y, b);
    }
    hn::Store(a, d, sum);
    hn::Store(b, d, sum + kLanes<T>);
  }
}

template <class T>
HWY_INLINE void ShiftedSums(const T* block, const Shifted<T>& rows, const Starts& starts, T* sums) {
  Index s = 0;
  for (; s + kShiftTile <= starts.count; s += kShiftTile)
    ShiftedSumsTile<kShiftTile>(block + s * kStrip<T>, rows, starts.at + s, sums);
  for (; s < starts.count; ++s) ShiftedSumsTile<1>(block + s * kStrip<T>, rows, starts.at + s, sums);
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
