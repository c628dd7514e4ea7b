#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/lag_column_attention/cpu_forward.cpp"
#include "subquad/kernels/lag_column_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/kernels/attention/online-inl.h"
#include "subquad/kernels/lag_column_attention/dropout-inl.h"
#include "subquad/kernels/lag_column_attention/shifted-inl.h"

// A range of queries takes 16 lags at a time and, last, 64 columns at a time. Of each strip of the range:
//
//   block [slots][lanes] = logits         lags: the strip's rows times shifted rows of k;  columns: a product
//   block = e^(block - maximum)           the running maximum of each lane; then dropout, which no sum sees
//   out [lanes][Ev] += block times shifted rows of v, or those of the columns
//
// Keys of neighbouring lags overlap: what one strip reads, a later one reads again at another lag, from L2.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct LagColumnForward {
  View<const T, 4> q, k, v;
  const LagColumns& chosen;
  const LagColumnScores& scores;
  const Mask& mask;
  T scale;
  std::optional<cpu::Keep> keep;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// Rows [begin, end) of one head, which see nothing.
template <class T>
void SeeNothing(const LagColumnForward<T>& args, Index b, Index h, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) {
    std::fill_n(&args.out(b, h, i, 0), args.out.dim(3), T(0));
    args.lse(b, h, i) = -std::numeric_limits<T>::infinity();
    args.lse_rest(b, h, i) = 0;
  }
}

// Row s of a block of weights, those of the strip of queries at `first`, is that of slots[s], a lag or a column.
template <class T>
HWY_NOINLINE void Drop(const HeadDropout& dropout, Index (*bits_of)(Index), const Index* slots, Index count,
                       Index first, T* block) {
  for (Index s = 0; s < count; ++s) StripFactors<T>(dropout, bits_of(slots[s]), first).apply(block + s * kStrip<T>);
}

// What the strips of a range have seen so far.
template <class T>
struct RangeSums {
  RangeRows<T> out;
  Online<T> online[kRange / kStrip<T>];

  explicit RangeSums(Index value_width) : out(value_width) {
    out.zero();
    std::fill(std::begin(online), std::end(online), NothingYet<T>());
  }

  // Logits of the strip at row r of the range to weights.
  HWY_INLINE void weigh(T* block, Index count, Index r) {
    const Vector<T> d;
    WeighBlock(block, count, online[r / kStrip<T>], [&](Index half, hn::Vec<Vector<T>> factors) HWY_ATTR {
      HWY_ALIGN T factor[kLanes<T>];
      hn::Store(factors, d, factor);
      for (Index lane = 0; lane < kLanes<T>; ++lane) {
        T* row = out.row(r + half * kLanes<T> + lane);
        const auto shrink = hn::Set(d, factor[lane]);
        for (Index c = 0; c < out.width(); c += kLanes<T>) hn::Store(hn::Mul(hn::Load(d, row + c), shrink), d, row + c);
      }
    });
  }

  void store(const LagColumnForward<T>& args, Index b, Index h, Range range) const {
    for (Index first = range.begin; first < range.end; first += kStrip<T>) {
      const StripSums<T> sums(online[(first - range.begin) / kStrip<T>]);
      const auto count = static_cast<std::size_t>(std::min(range.end - first, kStrip<T>));
      sums.for_lse(count, [&](std::size_t lane, T lse, T rest) {
        const Index i = first + static_cast<Index>(lane);
        out.store(i - range.begin, sums.share[lane], &args.out(b, h, i, 0), args.out.dim(3));
        args.lse(b, h, i) = lse;
        args.lse_rest(b, h, i) = rest;
      });
    }
  }
};

// Queries of one head, range.end <= n.
template <class T>
void LagColumnRange(const LagColumnForward<T>& args, const Chosen<T>& chosen, const Shifted<T>& k, const Shifted<T>& v,
                    Index b, Index h, Range range) {
  const Index width = args.q.dim(3), lags = static_cast<Index>(chosen.lags.size());
  const Index columns = static_cast<Index>(chosen.columns.size());
  const HeadDropout dropout{args.keep, b, h, args.q.dim(1), chosen.n};
  RangeRows<T> q(width);
  q.load(args.q, b, h, range, args.scale);
  RangeSums<T> sums(args.v.dim(3));
  HWY_ALIGN T block[kBlock * kStrip<T>];
  const LagWeights<T> weights(block);
  for (Index s = 0; s < lags; s += kLagsAtOnce)
    for (Index first = range.begin; first < range.end; first += kStrip<T>) {
      const Starts starts(chosen.lags, s, first, 1, chosen.n);
      const Index r = first - range.begin;
      ShiftedDots(q.row(r), k, starts, block);
      AddScores(chosen.lag_score, chosen.lags.data() + s, starts.count, block);
      sums.weigh(block, starts.count, r);
      if (dropout.active()) Drop(dropout, LagBits, chosen.lags.data() + s, starts.count, first, block);
      ShiftedSums(weights, v, starts, sums.out.row(r));
    }

  const PaddedRows<T> k_rows(args.k, b, h, chosen.columns), v_rows(args.v, b, h, chosen.columns);
  Buffer<T> strip(width * kStrip<T>);
  for (Index first = range.begin; first < range.end && columns > 0; first += kStrip<T>) {
    const Index r = first - range.begin;
    TurnStrip<T>(q.row(r), q.width(), width, strip.data());
    for (Index s = 0; s < columns; s += kBlock) {
      const Index count = std::min(kBlock, columns - s);
      ColumnLogits(chosen, s, count, first, k_rows, strip.data(), width, block);
      sums.weigh(block, count, r);
      if (dropout.active()) Drop(dropout, ColumnBits, chosen.columns.data() + s, count, first, block);
      ColumnSums(block, v_rows, s, count, sums.out.row(r));
    }
  }
  sums.store(args, b, h, range);
}

template <class T>
void LagColumn(const LagColumnForward<T>& args) {
  const Index heads = args.q.dim(1), positions = args.q.dim(2), ranges = RangeCount(positions);
  const Index slots = args.chosen.lags.dim(2) + args.chosen.columns.dim(2);
  const Index work = kRange * (slots * (args.q.dim(3) + args.v.dim(3)) / 8 + 1);
  for_heads(args.q.dim(0) * heads, ranges * work, [&](Index head) {
    const Index b = head / heads, h = head % heads;
    const Chosen<T> chosen(args.chosen, args.scores, args.mask, positions, head);
    const Index needed = chosen.lags.empty() ? 0 : chosen.n;
    Shifted<T> rows[] = {{args.k, b, h, needed}, {args.v, b, h, needed}};
    const Buffer<T> memory = PackAll(std::span<Shifted<T>>(rows));
    parallel_for(ranges, work, [&](Index range) {
      const Index begin = range * kRange, stop = std::min(positions, begin + kRange);
      const Index end = chosen.empty() ? begin : std::clamp(chosen.n, begin, stop);
      if (begin < end) LagColumnRange(args, chosen, rows[0], rows[1], b, h, {begin, end});
      SeeNothing(args, b, h, end, stop);
    });
  });
}

}  // namespace

void LagColumnAttention(const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                        const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                        AttentionOutput& result) {
  visit_float("lag_column_attention", q.dtype(), [&]<class T>(Type<T>) {
    LagColumn<T>({q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(), chosen, scores, mask,
                  static_cast<T>(options.scale), KeepOf(options), result.out.view<T, 4>(), result.lse.view<T, 3>(),
                  result.lse_rest.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(LagColumnAttention);

void cpu::lag_column_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                               const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                               AttentionOutput& result) {
  SUBQUAD_DISPATCH(LagColumnAttention)(q, k, v, chosen, scores, mask, options, result);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
