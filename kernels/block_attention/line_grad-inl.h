// The gradients that the queries of a line give to themselves and to their entries. Include inside the per-target part
// of a kernel. Lanes are queries of one line, as in forward; its entries are taken where they lie or packed, 64 at a
// time (K, V, and the line's queries Q, scaled, and dO are rows, too):
//
//   p  [64][lanes] = e^(K Qt - lse - lse_rest)
//   ds [64][lanes] = p (V dOt - delta)
//   dv [64][C] += p dO     dk [64][E] += ds Q     dqt [E][lanes] += Kt ds
//
// The logits are forward's, bit for bit: the same products. Lines have more entries than queries, and this way round
// only what belongs to queries is ever turned over.
#if defined(SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_GRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_GRAD_INL_H_
#undef SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_GRAD_INL_H_
#else
#define SUBQUAD_KERNELS_BLOCK_ATTENTION_LINE_GRAD_INL_H_
#endif

#include <limits>
#include <numbers>

#include "subquad/kernels/block_attention/line-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct GradArguments {
  View<const T, 4> dout, q, out;
  View<const T, 3> lse, lse_rest;
  const Tensor& dlse;
  Tables<T> tables;
  const Sight& sight;
  T scale;
  DirectDropout dropout;
  View<T, 4> dq;
  std::vector<View<T, 4>> dk, dv;  // of the tables
  int first_stage = 0;

  Index width() const { return q.dim(3); }
  Index value_width() const { return dout.dim(3); }
  Index padded_width() const { return WholeVectors<T>(width()); }
  Index padded_value_width() const { return WholeVectors<T>(value_width()); }
};

// Where a table's gradients for one head are added up.
template <class T>
struct Target {
  T *k, *v;            // of row `first`
  Index k_row, v_row;  // from one row to the next
  Index first = 0;
};

template <class T>
struct Targets {
  std::vector<Target<T>> tables;
  RowRange shared;  // these rows have a place of their own
  Target<T> place = {};

  Targets(const GradArguments<T>& args, Index b, Index h) {
    for (std::size_t t = 0; t < args.dk.size(); ++t) {
      const View<T, 4>&dk = args.dk[t], &dv = args.dv[t];
      tables.push_back({dk.data() + b * dk.stride(0) + h * dk.stride(1),
                        dv.data() + b * dv.stride(0) + h * dv.stride(1), dk.stride(2), dv.stride(2), 0});
    }
  }
  const Target<T>& of(const Entry& entry) const {
    return shared.holds(entry) ? place : tables[static_cast<std::size_t>(entry.table)];
  }
};

template <class T>
struct GradMemory {
  Line line;
  std::vector<Run<T>> runs;
  Scratch<T> q, dout, lse, rest, delta;                 // of the line's queries
  Scratch<T> k, v, dk, dv;                              // of its entries
  Scratch<T> q_strip, dout_strip, dq_strip, spare, dq;  // of a strip of queries
};

// What backward needs to know of a line's queries; vectors are whole.
template <class T>
struct PackedQueries {
  T *q, *dout;            // [queries][whole vectors], q scaled
  T *lse, *rest, *delta;  // [queries]; rest is to base 2

  PackedQueries(const GradArguments<T>& args, Index b, Index h, GradMemory<T>& memory) {
    const Line& line = memory.line;
    const Index count = static_cast<Index>(line.positions.size());
    const Index lanes = (count + kStrip<T> - 1) / kStrip<T> * kStrip<T>;
    q = memory.q.of(count * args.padded_width());
    dout = memory.dout.of(count * args.padded_value_width());
    lse = memory.lse.of(lanes);
    rest = memory.rest.of(lanes);
    delta = memory.delta.of(lanes);
    for (Index a = 0; a < count; ++a) take(args, b, h, line.positions[static_cast<std::size_t>(a)], a, line.to_next);
    std::fill(lse + count, lse + lanes, std::numeric_limits<T>::max());  // so that p is 0
    std::fill(rest + count, rest + lanes, T(0));
    std::fill(delta + count, delta + lanes, T(0));
  }

 private:
  void take(const GradArguments<T>& args, Index b, Index h, Index i, Index a, Index to_next) {
    const T *from = &args.q(b, h, i, 0), *up = &args.dout(b, h, i, 0), *out = &args.out(b, h, i, 0);
    FetchAhead(from, to_next * args.q.stride(2), args.width());
    FetchAhead(up, to_next * args.dout.stride(2), args.value_width());
    FetchAhead(out, to_next * args.out.stride(2), args.value_width());
    PackRow(from, args.width(), args.scale, q + a * args.padded_width());
    PackRow(up, args.value_width(), T(1), dout + a * args.padded_value_width());
    const T known = args.lse(b, h, i);  // -inf where the query sees nothing: then every p is 0
    lse[a] = known == -std::numeric_limits<T>::infinity() ? std::numeric_limits<T>::max() : known;
    rest[a] = args.lse_rest(b, h, i) * std::numbers::log2e_v<T>;
    delta[a] = Dot(up, out, args.value_width());
    if (args.dlse.defined()) delta[a] -= args.dlse.template view<const T, 3>()(b, h, i);
  }
};

// strip[c][lane] = rows[lane][c] of neighbouring rows
template <class T>
void TurnRows(const T* rows, Index row, Index count, Index width, const T* spare, T* strip) {
  StripRows<const T> lanes(spare);
  for (Index lane = 0; lane < count; ++lane) lanes.row[lane] = rows + lane * row;
  LoadStrip(lanes, width, T(1), strip);
}

// dq of a strip's queries: a later stage adds to what the first one wrote.
template <class T>
void PutQueryGradient(const GradArguments<T>& args, Index b, Index h, int stage, const Strip<T>& strip,
                      const T* dq_strip, GradMemory<T>& memory, T* spare) {
  const Vector<T> d;
  const Index width = args.width(), row = args.padded_width();
  HWY_ALIGN T ones[kStrip<T>];
  std::fill_n(ones, kStrip<T>, T(1));
  T* rows = memory.dq.of(kStrip<T> * row);
  StripRows<T> lanes(spare);
  for (Index lane = 0; lane < strip.count; ++lane) lanes.row[lane] = rows + lane * row;
  StoreStrip(dq_strip, ones, width, lanes);
  for (const Index i : strip.positions) {
    T* dq = &args.dq(b, h, i, 0);
    ForVectors(d, width, [&](Index e, auto part) HWY_ATTR {
      const auto sum = part.Load(rows + e);
      part.Store(stage == args.first_stage ? sum : hn::Add(part.Load(dq + e), sum), dq + e);
    });
    rows += row;
  }
}

// What `halves` vectors of a line's queries give to its entries, and get from them.
template <int halves, class T>
void BackwardStrip(const GradArguments<T>& args, Index b, Index h, int stage, const Strip<T>& strip,
                   const PackedQueries<T>& queries, GradMemory<T>& memory) {
  const Vector<T> d;
  const Index width = args.width(), value_width = args.value_width();
  const Index k_row = args.padded_width(), v_row = args.padded_value_width();
  const T *q = queries.q + strip.first * k_row, *dout = queries.dout + strip.first * v_row;
  T *q_strip = memory.q_strip.of(width * kStrip<T>), *dout_strip = memory.dout_strip.of(value_width * kStrip<T>);
  T *dq_strip = memory.dq_strip.of(width * kStrip<T>), *spare = memory.spare.of(std::max(width, value_width));
  std::fill_n(spare, std::max(width, value_width), T(0));
  std::fill_n(dq_strip, width * kStrip<T>, T(0));
  TurnRows(q, k_row, strip.count, width, spare, q_strip);
  TurnRows(dout, v_row, strip.count, value_width, spare, dout_strip);
  HWY_ALIGN T p[kBlock * kStrip<T>], ds[kBlock * kStrip<T>];

  ForBlocks(memory.line.entries, strip, [&](const Entry* entries, Index begin, Index count) HWY_ATTR {
    ForRuns(memory.runs, begin, count, [&](const Run<T>& run, Index first, Index at, Index rows) HWY_ATTR {
      Product<halves, false>(d, rows, Left<T>{run.k + first * run.k_row, run.k_row, 1},
                             Panel<const T>{q_strip, kStrip<T>}, width, Panel<T>{p + at * kStrip<T>, kStrip<T>});
      Product<halves, false>(d, rows, Left<T>{run.v + first * run.v_row, run.v_row, 1},
                             Panel<const T>{dout_strip, kStrip<T>}, value_width,
                             Panel<T>{ds + at * kStrip<T>, kStrip<T>});
    });
    HideEntries(entries, count, strip, p);
    if (args.dropout.active()) DropEntries(args.dropout, b, h, strip.positions, entries, count, ds);
    DifferentiateLanes<halves>(p, ds, count, queries.lse + strip.first, queries.rest + strip.first,
                               queries.delta + strip.first);
    if (args.dropout.active()) DropEntries(args.dropout, b, h, strip.positions, entries, count, p);
    ForRuns(memory.runs, begin, count, [&](const Run<T>& run, Index first, Index at, Index rows) HWY_ATTR {
      AddWeightedRows(p + at * kStrip<T>, rows, strip.count, dout, v_row,
                      Panel<T>{run.dv + first * run.dv_row, run.dv_row});
      AddWeightedRows(ds + at * kStrip<T>, rows, strip.count, q, k_row,
                      Panel<T>{run.dk + first * run.dk_row, run.dk_row});
      Product<halves, true>(d, width, Left<T>{run.k + first * run.k_row, 1, run.k_row},
                            Panel<const T>{ds + at * kStrip<T>, kStrip<T>}, rows, Panel<T>{dq_strip, kStrip<T>});
    });
  });
  for (Index e = 0; e < width * kStrip<T>; e += kLanes<T>)
    hn::Store(hn::Mul(hn::Load(d, dq_strip + e), hn::Set(d, args.scale)), d, dq_strip + e);
  PutQueryGradient(args, b, h, stage, strip, dq_strip, memory, spare);
}

// Gradients that were summed apart, for the entries of a run.
template <class T>
void AddEntryGradients(const GradArguments<T>& args, const Line& line, const Targets<T>& targets, const Run<T>& run) {
  const auto add = [&](const T* sum, Index width, T* to, Index to_next) HWY_ATTR {
    const Vector<T> d;
    FetchAhead(to, to_next, width);
    ForVectors(d, width, [&](Index e, auto part) HWY_ATTR {
      part.Store(hn::Add(part.Load(to + e), part.Load(sum + e)), to + e);
    });
  };
  for (Index e = run.begin; e < run.end; ++e) {
    const Entry& entry = line.entries[static_cast<std::size_t>(e)];
    const Target<T>& target = targets.of(entry);
    const Index row = entry.row - target.first, to_next = line.to_next_of(entry), at = e - run.begin;
    add(run.dk + at * run.dk_row, args.width(), target.k + row * target.k_row, to_next * target.k_row);
    add(run.dv + at * run.dv_row, args.value_width(), target.v + row * target.v_row, to_next * target.v_row);
  }
}

// Can whole vectors be added to these rows where they lie?
template <class T>
bool WholeRows(const T* rows, Index row, Index width) {
  constexpr auto kBytes = static_cast<std::uintptr_t>(kLanes<T>) * sizeof(T);
  return width % kLanes<T> == 0 && row % kLanes<T> == 0 && reinterpret_cast<std::uintptr_t>(rows) % kBytes == 0;
}

// Where a run's gradients are summed: in their target, if they may, or apart.
template <class T>
void PlaceGradients(const GradArguments<T>& args, const Line& line, const Targets<T>& targets, Run<T>& run,
                    GradMemory<T>& memory) {
  const Entry& first = line.entries[static_cast<std::size_t>(run.begin)];
  const Target<T>& target = targets.of(first);
  const Index row = first.row - target.first;
  T *dk = target.k + row * target.k_row, *dv = target.v + row * target.v_row;
  run.sums_in_place =
      run.in_place && WholeRows(dk, target.k_row, args.width()) && WholeRows(dv, target.v_row, args.value_width());
  if (run.sums_in_place) {
    run.dk = dk, run.dk_row = target.k_row;
    run.dv = dv, run.dv_row = target.v_row;
    return;
  }
  const Index count = static_cast<Index>(line.entries.size()), rows = run.end - run.begin;
  run.dk_row = args.padded_width(), run.dv_row = args.padded_value_width();
  run.dk = memory.dk.of(count * run.dk_row) + run.begin * run.dk_row;
  run.dv = memory.dv.of(count * run.dv_row) + run.begin * run.dv_row;
  std::fill_n(run.dk, rows * run.dk_row, T(0));
  std::fill_n(run.dv, rows * run.dv_row, T(0));
}

template <class T>
void BackwardLine(const GradArguments<T>& args, Index b, Index h, int stage, const Targets<T>& targets,
                  GradMemory<T>& memory) {
  const Line& line = memory.line;
  const PackedQueries<T> queries(args, b, h, memory);
  const auto same_place = [&](const Entry& one, const Entry& next) {
    return targets.shared.holds(one) == targets.shared.holds(next);
  };
  FindRuns(args.tables, b, h, line, memory.k, memory.v, same_place, memory.runs);
  for (Run<T>& run : memory.runs) PlaceGradients(args, line, targets, run, memory);
  for (Index first = 0; first < static_cast<Index>(line.positions.size()); first += kStrip<T>) {
    const Strip<T> strip(line, first);
    if (strip.fills_one_vector())
      BackwardStrip<1>(args, b, h, stage, strip, queries, memory);
    else
      BackwardStrip<2>(args, b, h, stage, strip, queries, memory);
  }
  for (const Run<T>& run : memory.runs)
    if (!run.sums_in_place) AddEntryGradients(args, line, targets, run);
}

// Lines [begin, end) of a stage. Only this task reads or writes what belongs to their queries and, unless lines share
// them, to their entries.
template <class T>
void BackwardLines(const GradArguments<T>& args, Index b, Index h, int stage, Index begin, Index end,
                   const Targets<T>& targets) {
  GradMemory<T> memory;
  const Line& line = memory.line;
  for (Index number = begin; number < end; ++number) {
    args.sight.find(b, stage, number, memory.line);
    for (const Index i : line.blind)
      if (stage == args.first_stage) std::fill_n(&args.dq(b, h, i, 0), args.width(), T(0));
    if (!line.entries.empty()) BackwardLine(args, b, h, stage, targets, memory);
  }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
