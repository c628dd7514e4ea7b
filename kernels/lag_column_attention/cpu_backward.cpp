#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/lag_column_attention/cpu_backward.cpp"
#include "subquad/kernels/lag_column_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/kernels/lag_column_attention/dropout-inl.h"
#include "subquad/kernels/lag_column_attention/shifted-inl.h"

// Two walks over ranges of positions, each with p and ds made anew in blocks of 64 columns or 16 lags:
//
//   a strip is queries: dq, the sums of ds per slot, and what the range gives to dk and dv of the columns
//   a strip is keys: dk and dv along the lags, whose queries are a shift away just as keys are from queries
//
// then each head adds up what its ranges gave to columns and scores, in order. The logits are forward's, bit for bit:
// along lags the same sums over the features of the scaled query and the key, which may change places.
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
  // Of each query, and once more behind the end as in Shifted: log-sum-exp, its rest to base 2, and delta.
  Buffer<T> lse, lse_rest, delta;
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
        lse(WrappedRows<T>(chosen.n)),
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
    for (Index x = 0; x < lse.size() && positions() > 0; ++x) {
      const Index i = x % chosen.n;
      T sum = 0;
      const T *dout = &args.dout(b, h, i, 0), *out = &args.out(b, h, i, 0);
      for (Index c = 0; c < value_width; ++c) sum += dout[c] * out[c];
      if (args.dlse.defined()) sum -= args.dlse.template view<const T, 3>()(b, h, i);
      delta.data()[x] = sum;
      lse.data()[x] = args.lse(b, h, i);
      lse_rest.data()[x] = args.lse_rest(b, h, i) * std::numbers::log2e_v<T>;
    }
  }
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
  QueryRange(const LagColumnHead<T>& head, const Shifted<T>& k, const Shifted<T>& v, Index number)
      : head_(head),
        k_(k),
        v_(v),
        number_(number),
        range_{number * kRange, std::min(head.positions(), (number + 1) * kRange)},
        dropout_(head.dropout()),
        q_(head.width),
        dout_(head.value_width),
        dq_(head.width) {
    q_.load(head.args.q, head.b, head.h, range_, head.args.scale);
    dout_.load(head.args.dout, head.b, head.h, range_, T(1));
    dq_.zero();
    std::fill_n(head.lag_sums(number), head.range_size, T(0));
    for (Index r = 0; r < kRange; ++r) {
      const bool there = range_.begin + r < range_.end;  // e^(s - inf) = 0
      lse_[r] = there ? head.lse.data()[range_.begin + r] : std::numeric_limits<T>::infinity();
      lse_rest_[r] = there ? head.lse_rest.data()[range_.begin + r] : T(0);
      delta_[r] = there ? head.delta.data()[range_.begin + r] : T(0);
    }
  }

  void differentiate() {
    for (Index s = 0; s < head_.lags(); s += kLagsAtOnce)
      for (Index first = range_.begin; first < range_.end; first += kStrip<T>) along_lags(s, first);
    if (head_.columns() > 0) along_columns();
    for (Index i = range_.begin; i < range_.end; ++i)
      dq_.store(i - range_.begin, head_.args.scale, &head_.args.dq(head_.b, head_.h, i, 0), head_.width);
  }

 private:
  QueryRows<T> sums() const { return {lse_, lse_rest_, delta_}; }

  HWY_INLINE void along_lags(Index s, Index first) {
    const Chosen<T>& chosen = head_.chosen;
    const Index r = first - range_.begin;
    const Index* lags = chosen.lags.data() + s;
    const Starts starts(chosen.lags, s, first, 1, chosen.n);
    ShiftedDots(q_.row(r), k_, starts, p_);
    AddScores(chosen.lag_score, lags, starts.count, p_);
    ShiftedDots(dout_.row(r), v_, starts, ds_);
    for (Index l = 0; l < starts.count; ++l)
      DifferentiateSlot(dropout_, LagBits(lags[l]), first, p_ + l * kStrip<T>, ds_ + l * kStrip<T>, sums(), r);
    ShiftedSums(ds_, k_, starts, dq_.row(r));
    AddLanes(ds_, starts.count, head_.lag_sums(number_) + s);
  }

  void along_columns() {
    const Vector<T> d;
    const Chosen<T>& chosen = head_.chosen;
    const PaddedRows<T> k_rows(head_.args.k, head_.b, head_.h, chosen.columns);
    const PaddedRows<T> v_rows(head_.args.v, head_.b, head_.h, chosen.columns);
    const Buffer<T> q_strip(head_.width * kStrip<T>), dout_strip(head_.value_width * kStrip<T>);
    for (Index first = range_.begin; first < range_.end; first += kStrip<T>) {
      const Index r = first - range_.begin;
      TurnStrip<T>(q_.row(r), q_.width(), head_.width, q_strip.data());
      TurnStrip<T>(dout_.row(r), dout_.width(), head_.value_width, dout_strip.data());
      for (Index s = 0; s < head_.columns(); s += kBlock) {
        const Index count = std::min(kBlock, head_.columns() - s);
        ColumnLogits(chosen, s, count, first, k_rows, q_strip.data(), head_.width, p_);
        Product<2, false>(d, count, Left<T>{v_rows.row(s), v_rows.width, 1},
                          Panel<const T>{dout_strip.data(), kStrip<T>}, head_.value_width, Panel<T>{ds_, kStrip<T>});
        for (Index c = 0; c < count; ++c)
          DifferentiateSlot(dropout_, ColumnBits(chosen.columns[static_cast<std::size_t>(s + c)]), first,
                            p_ + c * kStrip<T>, ds_ + c * kStrip<T>, sums(), r);
        ColumnSums(ds_, k_rows, s, count, dq_.row(r));
        AddLanes(ds_, count, head_.column_sums(number_) + s);
        AddWeightedRows(ds_, count, kStrip<T>, q_.row(r), q_.width(), head_.column_dk(number_) + s * q_.width());
        AddWeightedRows(p_, count, kStrip<T>, dout_.row(r), dout_.width(),
                        head_.column_dv(number_) + s * dout_.width());
      }
    }
  }

  const LagColumnHead<T>& head_;
  const Shifted<T>&k_, &v_;
  Index number_;
  Range range_;
  HeadDropout dropout_;
  RangeRows<T> q_, dout_, dq_;
  HWY_ALIGN T lse_[kRange], lse_rest_[kRange], delta_[kRange];
  HWY_ALIGN T p_[kBlock * kStrip<T>], ds_[kBlock * kStrip<T>];
};

// Keys of range number `number`: dk and dv along the lags, overwriting. q is scaled, and so dk is.
template <class T>
void DifferentiateKeys(const LagColumnHead<T>& head, const Shifted<T>& q, const Shifted<T>& dout, Index number) {
  const Chosen<T>& chosen = head.chosen;
  const LagColumnBackward<T>& args = head.args;
  const HeadDropout dropout = head.dropout();
  const Range range{number * kRange, std::min(head.positions(), (number + 1) * kRange)};
  RangeRows<T> k(head.width), v(head.value_width), dk(head.width), dv(head.value_width);
  k.load(args.k, head.b, head.h, range, T(1));
  v.load(args.v, head.b, head.h, range, T(1));
  dk.zero();
  dv.zero();
  HWY_ALIGN T p[kLagsAtOnce * kStrip<T>], ds[kLagsAtOnce * kStrip<T>];
  const QueryRows<T> queries{head.lse.data(), head.lse_rest.data(), head.delta.data()};
  for (Index s = 0; s < head.lags(); s += kLagsAtOnce)
    for (Index first = range.begin; first < range.end; first += kStrip<T>) {
      const Starts starts(chosen.lags, s, first, -1, chosen.n);
      const Index* lags = chosen.lags.data() + s;
      const Index r = first - range.begin;
      ShiftedDots(k.row(r), q, starts, p);
      AddScores(chosen.lag_score, lags, starts.count, p);
      ShiftedDots(v.row(r), dout, starts, ds);
      for (Index l = 0; l < starts.count; ++l)
        DifferentiateSlot(dropout, LagBits(lags[l]), starts.at[l], p + l * kStrip<T>, ds + l * kStrip<T>, queries,
                          starts.at[l]);
      ShiftedSums(ds, q, starts, dk.row(r));
      ShiftedSums(p, dout, starts, dv.row(r));
    }
  for (Index i = range.begin; i < range.end; ++i) {
    dk.store(i - range.begin, T(1), &args.dk(head.b, head.h, i, 0), head.width);
    dv.store(i - range.begin, T(1), &args.dv(head.b, head.h, i, 0), head.value_width);
  }
}

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

template <class T>
void LagColumnGrad(const LagColumnBackward<T>& args) {
  const Index positions = args.q.dim(2), ranges = RangeCount(positions);
  const Index slots = args.chosen.lags.dim(2) + args.chosen.columns.dim(2);
  const Index work = kRange * (slots * (args.q.dim(3) + args.v.dim(3)) / 4 + 1);
  for_heads(args.q.dim(0) * args.q.dim(1), 2 * ranges * work, [&](Index number) {
    LagColumnHead<T> head(args, number);
    head.fill_rows();
    const Index b = head.b, h = head.h, needed = head.lags() == 0 ? 0 : head.chosen.n;
    const auto walk = [&](Shifted<T> first, Shifted<T> second, const auto& range) {
      Shifted<T> rows[] = {first, second};
      const Buffer<T> memory = PackAll(std::span<Shifted<T>>(rows));
      parallel_for(ranges, work, [&](Index x) { range(rows[0], rows[1], x); });
    };
    walk({args.k, b, h, needed}, {args.v, b, h, needed}, [&](const auto& k, const auto& v, Index range) {
      const Index begin = range * kRange, stop = std::min(positions, begin + kRange);
      if (begin < head.positions()) QueryRange<T>(head, k, v, range).differentiate();
      ZeroRows(head, std::clamp(head.positions(), begin, stop), stop);
    });
    walk({args.q, b, h, needed, args.scale}, {args.dout, b, h, needed},
         [&](const auto& q, const auto& dout, Index range) {
           if (range * kRange < head.positions()) DifferentiateKeys(head, q, dout, range);
         });
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
