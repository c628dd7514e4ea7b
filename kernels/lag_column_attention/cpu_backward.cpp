#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/lag_column_attention/cpu_backward.cpp"
#include "subquad/kernels/lag_column_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <memory>
#include <vector>

#include "subquad/kernels/attention/online-inl.h"
#include "subquad/kernels/lag_column_attention/dropout-inl.h"
#include "subquad/kernels/lag_column_attention/shifted-inl.h"

// Sixteen lags at a time, two walks over ranges of positions:
//
//   a strip is queries: p and ds of the lags, which are kept, and from them dq and the sums of ds per lag
//   a strip is keys: dk and dv, whose queries, with what was kept of them, are a shift away just as keys are from
//   queries
//
// then a walk over the ranges for the columns: dq, sums of ds, and what the range gives to dk and dv of the columns;
// last, each head adds up what its ranges gave to columns and scores, in order. The logits are forward's, bit for bit.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct LagColumnBackward {
  View<const T, 4> dout, q, k, v, out;
  View<const T, 3> lse, lse_rest;
  const Tensor& dlse;
  const LagColumns& chosen;
  const LagColumnScores& scores;
  const Mask& mask;
  T scale;
  std::optional<cpu::Keep> keep;
  View<T, 4> dq, dk, dv;
  View<T, 3> dlag_score, dcol_score;
};

// One head: what it chose, its tensors as rows of features, and what its ranges of queries leave behind.
template <class T>
struct LagColumnHead {
  const LagColumnBackward<T>& args;
  Index b, h;
  Chosen<T> chosen;
  Index width, value_width;
  Index padded_width, padded_value_width;  // whole vectors
  Buffer<T> lse, lse_rest, delta;          // of each query: log-sum-exp, its rest to base 2, and delta
  // Of each range: sums of ds per lag and per column, dk and dv of the columns.
  Index range_size;
  Buffer<T> range_sums;

  LagColumnHead(const LagColumnBackward<T>& a, Index head)
      : args(a),
        b(head / a.q.dim(1)),
        h(head % a.q.dim(1)),
        chosen(a.chosen, a.scores, a.mask, a.q.dim(2), head),
        width(a.q.dim(3)),
        value_width(a.v.dim(3)),
        padded_width(WholeVectors<T>(width)),
        padded_value_width(WholeVectors<T>(value_width)),
        lse(chosen.n),
        lse_rest(lse.size()),
        delta(lse.size()),
        range_size(WholeVectors<T>(lags() + columns()) + columns() * (padded_width + padded_value_width)),
        range_sums(ranges() * range_size) {}

  Index lags() const { return static_cast<Index>(chosen.lags.size()); }
  Index columns() const { return static_cast<Index>(chosen.columns.size()); }
  Index positions() const { return chosen.empty() ? 0 : chosen.n; }  // that see anything
  Index ranges() const { return RangeCount(positions()); }
  HeadDropout dropout() const { return {args.keep, b, h, args.q.dim(1), chosen.n}; }

  T* lag_sums(Index range) const { return range_sums.data() + range * range_size; }
  T* column_sums(Index range) const { return lag_sums(range) + lags(); }
  T* column_dk(Index range) const { return lag_sums(range) + WholeVectors<T>(lags() + columns()); }
  T* column_dv(Index range) const { return column_dk(range) + columns() * padded_width; }

  void fill_rows() {
    for (Index i = 0; i < positions(); ++i) {
      PrefetchBehind(args.dout, b, h, i, positions());
      PrefetchBehind(args.out, b, h, i, positions());
      T sum = Dot(&args.dout(b, h, i, 0), &args.out(b, h, i, 0), value_width);
      if (args.dlse.defined()) sum -= args.dlse.template view<const T, 3>()(b, h, i);
      delta.data()[i] = sum;
      lse.data()[i] = args.lse(b, h, i);
      lse_rest.data()[i] = args.lse_rest(b, h, i) * std::numbers::log2e_v<T>;
    }
  }
};

// p and ds of up to kLagsAtOnce lags: rows of all positions, and the first ones once more as in Shifted.
template <class T>
class KeptWeights {
 public:
  explicit KeptWeights(Index n)
      : n_(n),
        row_size_((WrappedRows<T>(n) + kStrip<T> - 1) / kStrip<T> * kStrip<T>),
        memory_(2 * kLagsAtOnce * row_size_) {}

  T* p() const { return memory_.data(); }
  T* ds() const { return p() + kLagsAtOnce * row_size_; }
  Index row_size() const { return row_size_; }

  // The strip of queries at `first`, in whole strips.
  HWY_INLINE void keep(const T* p_block, const T* ds_block, Index count, Index first) {
    const Vector<T> d;
    for (Index s = 0; s < count; ++s)
      for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
        const Index from = s * kStrip<T> + lane, to = s * row_size_ + first + lane;
        hn::Store(hn::Load(d, p_block + from), d, p() + to);
        hn::Store(hn::Load(d, ds_block + from), d, ds() + to);
      }
  }

  // Asks for what the strip behind this one needs: two lines of the cache per lag, in as many streams as no prefetcher
  // of the processor follows.
  HWY_INLINE void prefetch_behind(const Starts& starts) const {
    for (Index s = 0; s < starts.count; ++s)
      for (const T* row : {p(), ds()})
        for (Index lane = kStrip<T>; lane < 2 * kStrip<T>; lane += kLanes<T>)
          hwy::Prefetch(row + s * row_size_ + starts.at[s] + lane);
  }

  // When all strips are kept.
  void wrap() {
    for (Index s = 0; s < 2 * kLagsAtOnce; ++s) {
      T* row = memory_.data() + s * row_size_;
      for (Index x = n_; x < WrappedRows<T>(n_); ++x) row[x] = row[x % n_];
    }
  }

 private:
  Index n_, row_size_;
  Buffer<T> memory_;
};

// LagColumnHead's three rows, or what stands there for one strip.
template <class T>
struct QueryRows {
  const T *lse, *lse_rest, *delta;
};

// Logits to p, and dp to ds = p (dp - delta), in place, for row s of a block. No p exceeds 1, whatever the forward
// results are that the caller hands in.
template <class T>
HWY_INLINE void DifferentiateRow(T* p_row, T* ds_row, const QueryRows<T>& query, Index at) {
  const Vector<T> d;
  for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
    const auto beyond_lse = hn::Sub(hn::Load(d, p_row + lane), hn::LoadU(d, query.lse + at + lane));
    const auto log2_p = hn::MulSub(beyond_lse, Log2E(d), hn::LoadU(d, query.lse_rest + at + lane));
    const auto p = Exp2(d, hn::IfThenZeroElse(hn::Gt(log2_p, hn::Zero(d)), log2_p));  // keeps a NaN
    hn::Store(p, d, p_row + lane);
    const auto dp = hn::Sub(hn::Load(d, ds_row + lane), hn::LoadU(d, query.delta + at + lane));
    hn::Store(hn::Mul(p, dp), d, ds_row + lane);
  }
}

// The same with dropout, which is that of queries `first` and behind: p to r p, dp to ds = p (r dp - delta).
template <class T>
HWY_NOINLINE void DifferentiateDropped(const HeadDropout& dropout, Index bits, Index first, T* p_row, T* ds_row,
                                       const QueryRows<T>& query, Index at) {
  const StripFactors<T> factors(dropout, bits, first);
  factors.apply(ds_row);
  DifferentiateRow(p_row, ds_row, query, at);
  factors.apply(p_row);
}

template <class T>
HWY_INLINE void DifferentiateSlot(const HeadDropout& dropout, Index bits, Index first, T* p_row, T* ds_row,
                                  const QueryRows<T>& query, Index at) {
  if (dropout.active())
    DifferentiateDropped(dropout, bits, first, p_row, ds_row, query, at);
  else
    DifferentiateRow(p_row, ds_row, query, at);
}

// sums[s] += sum of row s of the block
template <class T>
HWY_INLINE void AddLanes(const T* block, Index count, T* sums) {
  const Vector<T> d;
  for (Index s = 0; s < count; ++s) {
    const T* row = block + s * kStrip<T>;
    sums[s] += hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Load(d, row), hn::Load(d, row + kLanes<T>))));
  }
}

// Queries of range number `number`: dq, and the range's sums.
template <class T>
class QueryRange {
 public:
  QueryRange(const LagColumnHead<T>& head, const Shifted<T>& q, const Shifted<T>& dout, Index number)
      : head_(head),
        q_(q),
        dout_(dout),
        number_(number),
        range_{number * kRange, std::min(head.positions(), (number + 1) * kRange)},
        dropout_(head.dropout()),
        dq_(head.width) {
    dq_.zero();
    std::fill_n(head.lag_sums(number), head.range_size, T(0));
    for (Index r = 0; r < kRange; ++r) {
      const bool there = range_.begin + r < range_.end;  // e^(s - inf) = 0
      lse_[r] = there ? head.lse.data()[range_.begin + r] : std::numeric_limits<T>::infinity();
      lse_rest_[r] = there ? head.lse_rest.data()[range_.begin + r] : T(0);
      delta_[r] = there ? head.delta.data()[range_.begin + r] : T(0);
    }
  }

  // The lags from number s on.
  void along_lags(const Shifted<T>& k, const Shifted<T>& v, Index s, KeptWeights<T>& kept) {
    const Chosen<T>& chosen = head_.chosen;
    const Index* lags = chosen.lags.data() + s;
    HWY_ALIGN T p[kLagsAtOnce * kStrip<T>], ds[kLagsAtOnce * kStrip<T>];
    const LagWeights<T> weights(ds);
    for (Index first = range_.begin; first < range_.end; first += kStrip<T>) {
      const Index r = first - range_.begin;
      const Starts starts(chosen.lags, s, first, 1, chosen.n);
      ShiftedDots(q_.row(first), k, starts, p);
      AddScores(chosen.lag_score, lags, starts.count, p);
      ShiftedDots(dout_.row(first), v, starts, ds);
      for (Index l = 0; l < starts.count; ++l)
        DifferentiateSlot(dropout_, LagBits(lags[l]), first, p + l * kStrip<T>, ds + l * kStrip<T>, sums(), r);
      kept.keep(p, ds, starts.count, first);
      ShiftedSums(weights, k, starts, dq_.row(r));
      AddLanes(ds, starts.count, head_.lag_sums(number_) + s);
    }
  }

  void along_columns() {
    const Vector<T> d;
    const Chosen<T>& chosen = head_.chosen;
    const PaddedRows<T> k_rows(head_.args.k, head_.b, head_.h, chosen.columns);
    const PaddedRows<T> v_rows(head_.args.v, head_.b, head_.h, chosen.columns);
    HWY_ALIGN T p[kBlock * kStrip<T>], ds[kBlock * kStrip<T>];
    const Buffer<T> q_strip(head_.width * kStrip<T>), dout_strip(head_.value_width * kStrip<T>);
    for (Index first = range_.begin; first < range_.end; first += kStrip<T>) {
      const Index r = first - range_.begin;
      TurnStrip<T>(q_.row(first), q_.width(), head_.width, q_strip.data());
      TurnStrip<T>(dout_.row(first), dout_.width(), head_.value_width, dout_strip.data());
      for (Index s = 0; s < head_.columns(); s += kBlock) {
        const Index count = std::min(kBlock, head_.columns() - s);
        ColumnLogits(chosen, s, count, first, k_rows, q_strip.data(), head_.width, p);
        Product<2, false>(d, count, Left<T>{v_rows.row(s), v_rows.width, 1},
                          Panel<const T>{dout_strip.data(), kStrip<T>}, head_.value_width, Panel<T>{ds, kStrip<T>});
        for (Index c = 0; c < count; ++c)
          DifferentiateSlot(dropout_, ColumnBits(chosen.columns[static_cast<std::size_t>(s + c)]), first,
                            p + c * kStrip<T>, ds + c * kStrip<T>, sums(), r);
        ColumnSums(ds, k_rows, s, count, dq_.row(r));
        AddLanes(ds, count, head_.column_sums(number_) + s);
        AddWeightedRows(ds, count, kStrip<T>, q_.row(first), q_.width(), head_.column_dk(number_) + s * q_.width());
        AddWeightedRows(p, count, kStrip<T>, dout_.row(first), dout_.width(),
                        head_.column_dv(number_) + s * dout_.width());
      }
    }
  }

  void store() const {
    for (Index i = range_.begin; i < range_.end; ++i)
      dq_.store(i - range_.begin, head_.args.scale, &head_.args.dq(head_.b, head_.h, i, 0), head_.width);
  }

 private:
  QueryRows<T> sums() const { return {lse_, lse_rest_, delta_}; }

  const LagColumnHead<T>& head_;
  const Shifted<T>&q_, &dout_;
  Index number_;
  Range range_;
  HeadDropout dropout_;
  RangeRows<T> dq_;
  HWY_ALIGN T lse_[kRange], lse_rest_[kRange], delta_[kRange];
};

// Keys of a range: dk and dv along the lags. q is scaled, and so dk is.
template <class T>
class KeyRange {
 public:
  KeyRange(const LagColumnHead<T>& head, Index number)
      : head_(head),
        range_{number * kRange, std::min(head.positions(), (number + 1) * kRange)},
        dk_(head.width),
        dv_(head.value_width) {
    dk_.zero();
    dv_.zero();
  }

  // The lags from number s on, whose p and ds are kept.
  void along_lags(const Shifted<T>& q, const Shifted<T>& dout, Index s, const KeptWeights<T>& kept) {
    for (Index first = range_.begin; first < range_.end; first += kStrip<T>) {
      const Starts starts(head_.chosen.lags, s, first, -1, head_.chosen.n);
      const Index r = first - range_.begin;
      kept.prefetch_behind(starts);
      ShiftedSums(LagWeights<T>(kept.ds(), kept.row_size(), starts), q, starts, dk_.row(r));
      ShiftedSums(LagWeights<T>(kept.p(), kept.row_size(), starts), dout, starts, dv_.row(r));
    }
  }

  void store() const {
    for (Index i = range_.begin; i < range_.end; ++i) {
      dk_.store(i - range_.begin, T(1), &head_.args.dk(head_.b, head_.h, i, 0), head_.width);
      dv_.store(i - range_.begin, T(1), &head_.args.dv(head_.b, head_.h, i, 0), head_.value_width);
    }
  }

 private:
  const LagColumnHead<T>& head_;
  Range range_;
  RangeRows<T> dk_, dv_;
};

// The sums that the ranges left behind, in order.
template <class T>
void AddRanges(const LagColumnHead<T>& head) {
  const LagColumnBackward<T>& args = head.args;
  const auto add = [](const T* from, Index count, T* to) {
    for (Index a = 0; a < count; ++a) to[a] += from[a];
  };
  for (Index range = 0; range < head.ranges(); ++range) {
    for (Index s = 0; s < head.lags(); ++s)
      args.dlag_score(head.b, head.h, head.chosen.lags[static_cast<std::size_t>(s)]) += head.lag_sums(range)[s];
    for (Index s = 0; s < head.columns(); ++s) {
      const Index j = head.chosen.columns[static_cast<std::size_t>(s)];
      args.dcol_score(head.b, head.h, j) += head.column_sums(range)[s];
      add(head.column_dk(range) + s * head.padded_width, head.width, &args.dk(head.b, head.h, j, 0));
      add(head.column_dv(range) + s * head.padded_value_width, head.value_width, &args.dv(head.b, head.h, j, 0));
    }
  }
}

template <class T>
void ZeroRows(const LagColumnHead<T>& head, Index begin, Index end) {
  for (const View<T, 4>& x : {head.args.dq, head.args.dk, head.args.dv})
    for (Index i = begin; i < end; ++i) std::fill_n(&x(head.b, head.h, i, 0), x.dim(3), T(0));
}

// All but what the ranges leave behind; rows of positions that see nothing stay as they are.
template <class T>
void DifferentiateLagsAndColumns(const LagColumnHead<T>& head, Index work) {
  const LagColumnBackward<T>& args = head.args;
  const Index b = head.b, h = head.h, n = head.positions(), along_lags = head.lags() == 0 ? 0 : n,
              ranges = head.ranges();
  Shifted<T> rows[] = {
      {args.k, b, h, along_lags}, {args.v, b, h, along_lags}, {args.q, b, h, n, args.scale}, {args.dout, b, h, n}};
  const Buffer<T> memory = PackAll(std::span<Shifted<T>>(rows));
  std::vector<std::unique_ptr<QueryRange<T>>> queries;
  std::vector<std::unique_ptr<KeyRange<T>>> keys;
  for (Index range = 0; range < ranges; ++range) {
    queries.push_back(std::make_unique<QueryRange<T>>(head, rows[2], rows[3], range));
    keys.push_back(std::make_unique<KeyRange<T>>(head, range));
  }
  const auto for_ranges = [&](const auto& ranges_of, const auto& f) {
    parallel_for(ranges, work, [&](Index range) { f(*ranges_of[static_cast<std::size_t>(range)]); });
  };
  KeptWeights<T> kept(along_lags);
  for (Index s = 0; s < head.lags(); s += kLagsAtOnce) {
    for_ranges(queries, [&](QueryRange<T>& range) { range.along_lags(rows[0], rows[1], s, kept); });
    kept.wrap();
    for_ranges(keys, [&](KeyRange<T>& range) { range.along_lags(rows[2], rows[3], s, kept); });
  }
  for_ranges(queries, [&](QueryRange<T>& range) {
    if (head.columns() > 0) range.along_columns();
    range.store();
  });
  for_ranges(keys, [&](KeyRange<T>& range) { range.store(); });
}

template <class T>
void LagColumnGrad(const LagColumnBackward<T>& args) {
  const Index positions = args.q.dim(2), ranges = RangeCount(positions);
  const Index slots = args.chosen.lags.dim(2) + args.chosen.columns.dim(2);
  const Index work = kRange * (slots * (args.q.dim(3) + args.v.dim(3)) / 4 + 1);
  for_heads(args.q.dim(0) * args.q.dim(1), 2 * ranges * work, [&](Index number) {
    LagColumnHead<T> head(args, number);
    head.fill_rows();
    DifferentiateLagsAndColumns(head, work);
    for (Index range = 0; range < ranges; ++range) {
      const Index begin = range * kRange, stop = std::min(positions, begin + kRange);
      ZeroRows(head, std::clamp(head.positions(), begin, stop), stop);
    }
    AddRanges(head);
  });
}

}  // namespace

void LagColumnAttentionGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                            const LagColumns& chosen, const AttentionOutput& forward, const LagColumnScores& scores,
                            const Mask& mask, const LagColumnOptions& options, LagColumnGrads& grads) {
  fill(grads.dlag_score, 0);
  fill(grads.dcol_score, 0);
  visit_float("lag_column_attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    LagColumnGrad<T>({dout.view<const T, 4>(), q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(),
                      forward.out.view<const T, 4>(), forward.lse.view<const T, 3>(),
                      forward.lse_rest.view<const T, 3>(), dlse, chosen, scores, mask, static_cast<T>(options.scale),
                      KeepOf(options), grads.dq.view<T, 4>(), grads.dk.view<T, 4>(), grads.dv.view<T, 4>(),
                      grads.dlag_score.view<T, 3>(), grads.dcol_score.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(LagColumnAttentionGrad);

void cpu::lag_column_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                    const Tensor& v, const LagColumns& chosen, const AttentionOutput& forward,
                                    const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                                    LagColumnGrads& grads) {
  SUBQUAD_DISPATCH(LagColumnAttentionGrad)(dout, dlse, q, k, v, chosen, forward, scores, mask, options, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
