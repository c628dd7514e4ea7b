#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/lag_column_attention/cpu_forward.cpp"
#include "subquad/kernels/lag_column_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/kernels/attention/online-inl.h"
#include "subquad/kernels/lag_column_attention/dropout-inl.h"
#include "subquad/kernels/lag_column_attention/shifted-inl.h"

// Lanes are queries. Per strip, and for 64 slots at a time, first lags, then columns (see kernels/attention):
//
//   block [64][lanes] = logits            lags: strip times shifted rows of k;  columns: a product of their keys
//   block = e^(block - maximum)           the running maximum of each lane; then dropout, which no sum sees
//   out [Ev][lanes] += shifted rows of v times block, or a product of the columns' values
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

// Queries [begin, end) of one head, end <= n.
template <class T>
void LagColumnRange(const LagColumnForward<T>& args, const Chosen<T>& chosen, const Shifted<T>& k, const Shifted<T>& v,
                    Index b, Index h, Index begin, Index end) {
  const Index width = args.q.dim(3), value_width = args.v.dim(3);
  const Buffer<T> k_rows = PackRows(args.k, b, h, chosen.columns), v_rows = PackRows(args.v, b, h, chosen.columns);
  Buffer<T> q_strip(width * kStrip<T>), out_strip(value_width * kStrip<T>), spare(std::max(width, value_width));
  spare.zero();
  const HeadDropout dropout{args.keep, b, h, args.q.dim(1), chosen.n};
  HWY_ALIGN T block[kBlock * kStrip<T>];
  const Vector<T> d;

  for (Index first = begin; first < end; first += kStrip<T>) {
    const Index lanes = std::min(kStrip<T>, end - first);
    LoadStrip(RowsOf(args.q, b, h, first, lanes, static_cast<const T*>(spare.data())), width, args.scale,
              q_strip.data());
    out_strip.zero();
    Online<T> online = NothingYet<T>();
    for (std::size_t s = 0; s < chosen.lags.size(); s += kBlock) {
      const Starts starts(chosen.lags, s, first, 1, chosen.n);
      ShiftedDots(q_strip.data(), k, starts, block);
      AddScores(chosen.lag_score, chosen.lags.data() + s, starts.count, block);
      Weigh(block, starts.count, online, out_strip.data(), value_width);
      if (dropout.active()) Drop(dropout, LagBits, chosen.lags.data() + s, starts.count, first, block);
      ShiftedSums(block, v, starts, out_strip.data());
    }
    const Index columns = static_cast<Index>(chosen.columns.size());
    for (Index s = 0; s < columns; s += kBlock) {
      const Index count = std::min(kBlock, columns - s);
      ColumnLogits(chosen, s, count, first, k_rows.data() + s * width, q_strip.data(), width, block);
      Weigh(block, count, online, out_strip.data(), value_width);
      if (dropout.active()) Drop(dropout, ColumnBits, chosen.columns.data() + s, count, first, block);
      Product<2, true>(d, value_width, Left<T>{v_rows.data() + s * value_width, 1, value_width},
                       Panel<const T>{block, kStrip<T>}, count, Panel<T>{out_strip.data(), kStrip<T>});
    }

    const StripSums<T> sums(online);
    StoreStrip(out_strip.data(), sums.share, value_width, RowsOf(args.out, b, h, first, lanes, spare.data()));
    std::fill_n(spare.data(), value_width, T(0));
    for (Index lane = 0; lane < lanes; ++lane)
      sums.store_lse(static_cast<std::size_t>(lane), &args.lse(b, h, first + lane), &args.lse_rest(b, h, first + lane));
  }
}

template <class T>
void LagColumn(const LagColumnForward<T>& args) {
  const Index heads = args.q.dim(1), positions = args.q.dim(2), all_heads = args.q.dim(0) * heads;
  std::vector<Chosen<T>> chosen;
  std::vector<Shifted<T>> k, v;
  for (Index head = 0; head < all_heads; ++head) {
    chosen.emplace_back(args.chosen, args.scores, args.mask, positions, head);
    const Index needed = chosen.back().lags.empty() ? 0 : chosen.back().n;
    k.emplace_back(args.k, head / heads, head % heads, needed);
    v.emplace_back(args.v, head / heads, head % heads, needed);
  }
  PackAll(k);
  PackAll(v);
  const Index ranges = RangeCount(positions), slots = args.chosen.lags.dim(2) + args.chosen.columns.dim(2);
  const Index work = kRange * (slots * (args.q.dim(3) + args.v.dim(3)) / 8 + 1);
  parallel_for(all_heads * ranges, work, [&](Index task) {
    const Index head = task / ranges, b = head / heads, h = head % heads, begin = task % ranges * kRange;
    const auto number = static_cast<std::size_t>(head);
    const Index stop = std::min(positions, begin + kRange);
    const Index end = chosen[number].empty() ? begin : std::clamp(chosen[number].n, begin, stop);
    if (begin < end) LagColumnRange(args, chosen[number], k[number], v[number], b, h, begin, end);
    SeeNothing(args, b, h, end, stop);
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
