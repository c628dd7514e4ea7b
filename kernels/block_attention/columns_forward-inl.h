// The forward of a stage whose lines are columns, as many abreast as there are lanes; queries q, keys and values are
// panels (columns-inl.h). For eight rows of queries and sixteen of keys at a time, in each lane:
//
//   logits [queries][keys] = q K^T      hidden ones become -inf
//   weights = e^(logits - maximum)      a running maximum for each query; what was summed before follows it down
//   out [queries][C] += weights V
//
// Include inside the per-target part of a kernel.
#if defined(SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_FORWARD_INL_H_
#undef SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_FORWARD_INL_H_
#else
#define SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_FORWARD_INL_H_
#endif

#include "subquad/kernels/block_attention/columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct ForwardArguments {
  View<const T, 4> q;
  Tables<T> tables;
  const Sight& sight;
  T scale;
  DirectDropout dropout;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;

  bool finishes(int stage) const { return stage + 1 == sight.stages(); }
  void put_nothing(Index b, Index h, const std::vector<Index>& blind) const {
    for (const Index i : blind) {
      std::fill_n(&out(b, h, i, 0), out.dim(3), T(0));
      lse(b, h, i) = -std::numeric_limits<T>::infinity();
      lse_rest(b, h, i) = 0;
    }
  }
};

// What some rows of queries, a column to a lane, have seen so far.
template <class T>
class ColumnQueries {
 public:
  ColumnQueries(Index width, Index value_width)
      : q_(kQueryRows, width), out_(kQueryRows, value_width), zeros_(std::max(width, value_width)) {
    zeros_.zero();
  }

  void take_up(const ForwardArguments<T>& args, Index b, Index h, int stage, const Columns& columns, Index first) {
    count_ = std::min(kQueryRows, columns.rows() - first);
    for (Index r = 0; r < count_; ++r) {
      const std::uint32_t there = columns.queries[static_cast<std::size_t>(first + r)];
      LoadCells(args.q, b, h, columns, first + r, there, args.scale, zeros_.data(), q_.row(r));
      std::fill_n(top(r), kLanes<T>, std::numeric_limits<T>::lowest());
      std::fill_n(sum(r), kLanes<T>, T(0));
      if (stage == 0)
        std::fill_n(out_.row(r), out_.width() * kLanes<T>, T(0));
      else
        take_up_sums(args, b, h, columns, first + r, there, r);
    }
  }

  // Weights of keys, from their logits [queries][kKeyRows][lanes].
  void weigh(Index keys, T* logits) const {
    for (Index r = 0; r < count_; ++r) weigh_row(keys, logits + r * kKeyRows * kLanes<T>, r);
  }

  void put_down(const ForwardArguments<T>& args, Index b, Index h, int stage, const Columns& columns, Index first) {
    const Vector<T> d;
    for (Index r = 0; r < count_; ++r) {
      const Index position = columns.position(first + r);
      const std::uint32_t there = columns.queries[static_cast<std::size_t>(first + r)];
      if (there == 0) continue;
      const auto sums = hn::Load(d, sum(r));
      auto share = args.finishes(stage) ? hn::Div(hn::Set(d, T(1)), sums) : hn::Set(d, T(1));
      share = hn::IfThenZeroElse(hn::Eq(sums, hn::Zero(d)), share);  // has seen nothing
      HWY_ALIGN T shares[kLanes<T>];
      hn::Store(share, d, shares);
      TurnColumnsOver(d, out_.row(r), args.out.dim(3), [&](Index lane, Index c, auto part, auto sums_of_lane) HWY_ATTR {
        if ((there >> lane & 1) == 0) return;
        part.Store(hn::Mul(sums_of_lane, hn::Set(d, shares[lane])), &args.out(b, h, position + lane, c));
      });
      if (args.finishes(stage)) RoundLse(top(r), sum(r), kLanes<T>, lse_.data(), rest_.data());
      const T *lse = args.finishes(stage) ? lse_.data() : top(r), *rest = args.finishes(stage) ? rest_.data() : sum(r);
      for (Index lane = 0; lane < columns.lanes; ++lane)
        if ((there >> lane & 1) != 0) put_lse(args, b, h, position + lane, sum(r)[lane] == 0, lse[lane], rest[lane]);
    }
  }

  Index count() const { return count_; }
  Lattice<const T> q() const { return q_.by_rows(0); }
  Lattice<T> out() const { return out_.from_row(0); }

 private:
  T* top(Index r) const { return tops_.data() + r * kLanes<T>; }
  T* sum(Index r) const { return sums_.data() + r * kLanes<T>; }

  // Between two stages out holds sums, lse the maximum and lse_rest the sum of weights relative to it.
  void take_up_sums(const ForwardArguments<T>& args, Index b, Index h, const Columns& columns, Index row,
                    std::uint32_t there, Index r) {
    const Index position = columns.position(row);
    LoadCells(args.out, b, h, columns, row, there, T(1), zeros_.data(), out_.row(r));
    for (Index lane = 0; lane < kLanes<T>; ++lane) {
      if ((there >> lane & 1) == 0) continue;
      const T before = args.lse(b, h, position + lane);
      if (before == -std::numeric_limits<T>::infinity()) continue;  // has seen nothing so far
      top(r)[lane] = before;
      sum(r)[lane] = args.lse_rest(b, h, position + lane);
    }
  }

  HWY_INLINE void weigh_row(Index keys, T* logits, Index r) const {
    const Vector<T> d;
    const auto before = hn::Load(d, top(r));
    auto highest = before;
    for (Index k = 0; k < keys; ++k) highest = hn::Max(highest, hn::Load(d, logits + k * kLanes<T>));
    auto total = hn::Load(d, sum(r));
    if (!hn::AllTrue(d, hn::Eq(highest, before))) {
      const auto shrink = Exp2(d, hn::Mul(hn::Sub(before, highest), Log2E(d)));
      total = hn::Mul(total, shrink);
      T* out = out_.row(r);
      for (Index c = 0; c < out_.width() * kLanes<T>; c += kLanes<T>)
        hn::Store(hn::Mul(hn::Load(d, out + c), shrink), d, out + c);
      hn::Store(highest, d, top(r));
    }
    for (Index k = 0; k < keys * kLanes<T>; k += kLanes<T>) {
      const auto p = Exp2(d, hn::Mul(hn::Sub(hn::Load(d, logits + k), highest), Log2E(d)));
      hn::Store(p, d, logits + k);
      total = hn::Add(total, p);
    }
    hn::Store(total, d, sum(r));
  }

  static void put_lse(const ForwardArguments<T>& args, Index b, Index h, Index position, bool nothing, T lse, T rest) {
    args.lse(b, h, position) = nothing ? -std::numeric_limits<T>::infinity() : lse;
    args.lse_rest(b, h, position) = nothing ? T(0) : rest;
  }

  Index count_ = 0;
  ColumnPanel<T> q_, out_;
  Buffer<T> lse_{kLanes<T>}, rest_{kLanes<T>};
  Buffer<T> zeros_, tops_{kQueryRows * kLanes<T>}, sums_{kQueryRows * kLanes<T>};
};

template <class T>
void ForwardAbreast(const ForwardArguments<T>& args, Index b, Index h, int stage, const Columns& columns) {
  if (stage == 0) args.put_nothing(b, h, columns.blind);
  const Index width = args.q.dim(3), value_width = args.out.dim(3);
  Buffer<T> zeros(std::max(width, value_width));
  zeros.zero();
  const std::vector<ColumnPanel<T>> k = LoadTables(args.tables.k, b, h, columns, zeros.data());
  const std::vector<ColumnPanel<T>> v = LoadTables(args.tables.v, b, h, columns, zeros.data());
  ColumnQueries<T> queries(width, value_width);
  HWY_ALIGN T block[kQueryRows * kKeyRows * kLanes<T>];
  const Lattice<T> logits{block, kKeyRows, 1};
  const Lattice<const T> weights{block, kKeyRows, 1};

  for (Index first = 0; first < columns.rows(); first += kQueryRows) {
    queries.take_up(args, b, h, stage, columns, first);
    ForKeyRows(columns, first, first + queries.count(), [&](std::size_t t, Index key, Index keys) HWY_ATTR {
      LatticeProduct<false>(queries.count(), keys, width, queries.q(), k[t].by_features(key), logits);
      HideCells(columns, &columns.tables[t].rows[static_cast<std::size_t>(key)], first, queries.count(), keys, block);
      queries.weigh(keys, block);
      if (args.dropout.active())
        DropCells(args.dropout, b, h, columns, columns.tables[t].table, first, queries.count(), key, keys, block);
      LatticeProduct<true>(queries.count(), value_width, keys, weights, v[t].by_rows(key), queries.out());
    });
    queries.put_down(args, b, h, stage, columns, first);
  }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
