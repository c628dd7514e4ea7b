// The gradients of a stage whose lines are columns, as many abreast as there are lanes. Everything is a panel
// (columns-inl.h), Q scaled. For eight rows of queries and sixteen of keys at a time, in each lane:
//
//   p  [queries][keys] = e^(Q K^T - lse - lse_rest)        ds = p (dO V^T - delta)
//   dV += p^T dO     dK += ds^T Q     dQ += ds K
//
// Include inside the per-target part of a kernel.
#if defined(SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_GRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_GRAD_INL_H_
#undef SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_GRAD_INL_H_
#else
#define SUBQUAD_KERNELS_BLOCK_ATTENTION_COLUMNS_GRAD_INL_H_
#endif

#include "subquad/kernels/block_attention/columns-inl.h"
#include "subquad/kernels/block_attention/line_grad-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// What stands in lanes, [width][lanes], times `scale`, to a row of the grid, whose cells are `step` numbers apart:
// added, or not. The grid's next row, `ahead` numbers away, is asked for.
template <class T>
HWY_INLINE void AddCells(const T* panel, std::uint32_t there, T scale, bool add, T* to, Index step, Index ahead,
                         Index width) {
  const Vector<T> d;
  const auto factor = hn::Set(d, scale);
  FetchCells(to, step, kLanes<T>, ahead, width);
  TurnColumnsOver(d, panel, width, [&](Index lane, Index c, auto part, auto numbers) HWY_ATTR {
    if ((there >> lane & 1) == 0) return;
    T* const sum = to + lane * step + c;
    const auto share = hn::Mul(numbers, factor);
    part.Store(add ? hn::Add(part.Load(sum), share) : share, sum);
  });
}

// Rows of queries, a column to a lane, and the gradients that come to their results.
template <class T>
class ColumnQueryGrads {
 public:
  ColumnQueryGrads(Index width, Index value_width)
      : q_(kQueryRows, width), dout_(kQueryRows, value_width), dq_(kQueryRows, width) {}

  void take_up(const GradArguments<T>& args, Index b, Index h, const Columns& columns, Index first, const T* zeros) {
    count_ = std::min(kQueryRows, columns.rows() - first);
    dq_.zero();
    for (Index r = 0; r < count_; ++r) {
      const Index position = columns.position(first + r);
      const std::uint32_t there = columns.queries[static_cast<std::size_t>(first + r)];
      LoadCells(args.q, b, h, columns, first + r, there, args.scale, zeros, q_.row(r));
      LoadCells(args.dout, b, h, columns, first + r, there, T(1), zeros, dout_.row(r));
      FetchCells(&args.out(b, h, position, 0), args.out.stride(2), columns.lanes, columns.between * args.out.stride(2),
                 args.value_width());
      for (Index lane = 0; lane < kLanes<T>; ++lane)
        take_number(args, b, h, position + lane, (there >> lane & 1) != 0, r * kLanes<T> + lane);
    }
  }

  // Logits to weights p and dp to ds, [queries][kKeyRows][lanes], in place. No p exceeds 1.
  void differentiate(Index keys, T* p, T* ds) const {
    const Vector<T> d;
    for (Index r = 0; r < count_; ++r) {
      const Index at = r * kLanes<T>;
      const auto lse = hn::Load(d, lse_ + at), rest = hn::Load(d, rest_ + at), delta = hn::Load(d, delta_ + at);
      for (Index k = r * kKeyRows * kLanes<T>; k < (r * kKeyRows + keys) * kLanes<T>; k += kLanes<T>) {
        const auto log2_p = hn::MulSub(hn::Sub(hn::Load(d, p + k), lse), Log2E(d), rest);
        const auto weight = Exp2(d, hn::IfThenZeroElse(hn::Gt(log2_p, hn::Zero(d)), log2_p));  // keeps a NaN
        hn::Store(weight, d, p + k);
        hn::Store(hn::Mul(weight, hn::Sub(hn::Load(d, ds + k), delta)), d, ds + k);
      }
    }
  }

  // dq: a later stage adds to what the first one wrote.
  void put_down(const GradArguments<T>& args, Index b, Index h, int stage, const Columns& columns, Index first) const {
    const Index step = args.dq.stride(2);
    for (Index r = 0; r < count_; ++r)
      AddCells(dq_.row(r), columns.queries[static_cast<std::size_t>(first + r)], args.scale, stage > args.first_stage,
               &args.dq(b, h, 0, 0) + columns.position(first + r) * step, step, columns.between * step, args.width());
  }

  Index count() const { return count_; }
  const ColumnPanel<T>& q() const { return q_; }
  const ColumnPanel<T>& dout() const { return dout_; }
  const ColumnPanel<T>& dq() const { return dq_; }

 private:
  void take_number(const GradArguments<T>& args, Index b, Index h, Index i, bool there, Index at) {
    const T known = there ? args.lse(b, h, i) : -std::numeric_limits<T>::infinity();
    const bool sees = known != -std::numeric_limits<T>::infinity();
    lse_[at] = sees ? known : std::numeric_limits<T>::max();  // so that p is 0
    rest_[at] = sees ? args.lse_rest(b, h, i) * std::numbers::log2e_v<T> : T(0);
    delta_[at] = there ? Dot(&args.dout(b, h, i, 0), &args.out(b, h, i, 0), args.value_width()) : T(0);
    if (there && args.dlse.defined()) delta_[at] -= args.dlse.template view<const T, 3>()(b, h, i);
  }

  Index count_ = 0;
  ColumnPanel<T> q_, dout_, dq_;
  HWY_ALIGN T lse_[kQueryRows * kLanes<T>], rest_[kQueryRows * kLanes<T>], delta_[kQueryRows * kLanes<T>];
};

template <class T>
std::vector<ColumnPanel<T>> EmptyTables(const Columns& columns, Index width) {
  std::vector<ColumnPanel<T>> panels;
  for (std::size_t t = 0; t < columns.tables.size(); ++t) {
    panels.emplace_back(columns.rows(), width);
    panels.back().zero();
  }
  return panels;
}

template <class T>
void AddTables(const std::vector<View<T, 4>>& grads, Index b, Index h, const Columns& columns,
               const std::vector<ColumnPanel<T>>& panels) {
  for (std::size_t t = 0; t < columns.tables.size(); ++t) {
    const View<T, 4>& to = grads[static_cast<std::size_t>(columns.tables[t].table)];
    const Index step = to.stride(2);
    for (Index r = 0; r < columns.rows(); ++r)
      AddCells(panels[t].row(r), columns.tables[t].rows[static_cast<std::size_t>(r)].alive, T(1), true,
               &to(b, h, 0, 0) + columns.position(r) * step, step, columns.between * step, to.dim(3));
  }
}

template <class T>
void BackwardAbreast(const GradArguments<T>& args, Index b, Index h, int stage, const Columns& columns) {
  const Index width = args.width(), value_width = args.value_width(), widest = std::max(width, value_width);
  if (stage == args.first_stage)
    for (const Index i : columns.blind) std::fill_n(&args.dq(b, h, i, 0), width, T(0));
  Buffer<T> zeros(widest);
  zeros.zero();
  const std::vector<ColumnPanel<T>> k = LoadTables(args.tables.k, b, h, columns, zeros.data());
  const std::vector<ColumnPanel<T>> v = LoadTables(args.tables.v, b, h, columns, zeros.data());
  const std::vector<ColumnPanel<T>> dk = EmptyTables<T>(columns, width), dv = EmptyTables<T>(columns, value_width);
  ColumnQueryGrads<T> queries(width, value_width);
  HWY_ALIGN T p_block[kQueryRows * kKeyRows * kLanes<T>], ds_block[kQueryRows * kKeyRows * kLanes<T>];
  const Lattice<T> p{p_block, kKeyRows, 1}, ds{ds_block, kKeyRows, 1};
  const Lattice<const T> weights{p_block, kKeyRows, 1}, slopes{ds_block, kKeyRows, 1};

  for (Index first = 0; first < columns.rows(); first += kQueryRows) {
    queries.take_up(args, b, h, columns, first, zeros.data());
    const Index count = queries.count();
    ForKeyRows(columns, first, first + count, [&](std::size_t t, Index key, Index keys) HWY_ATTR {
      LatticeProduct<false>(count, keys, width, queries.q().by_rows(0), k[t].by_features(key), p);
      HideCells(columns, &columns.tables[t].rows[static_cast<std::size_t>(key)], first, count, keys, p_block);
      LatticeProduct<false>(count, keys, value_width, queries.dout().by_rows(0), v[t].by_features(key), ds);
      const auto drop = [&](T* block) {
        if (args.dropout.active())
          DropCells(args.dropout, b, h, columns, columns.tables[t].table, first, count, key, keys, block);
      };
      drop(ds_block);
      queries.differentiate(keys, p_block, ds_block);
      drop(p_block);
      LatticeProduct<true>(value_width, keys, count, queries.dout().by_features(0), weights, dv[t].from_feature(key));
      LatticeProduct<true>(width, keys, count, queries.q().by_features(0), slopes, dk[t].from_feature(key));
      LatticeProduct<true>(count, width, keys, slopes, k[t].by_rows(key), queries.dq().from_row(0));
    });
    queries.put_down(args, b, h, stage, columns, first);
  }
  AddTables(args.dk, b, h, columns, dk);
  AddTables(args.dv, b, h, columns, dv);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
