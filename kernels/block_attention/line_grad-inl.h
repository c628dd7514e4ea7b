// The gradients that the queries of a line give to themselves and to their entries. Include inside the per-target part
// of a kernel. Lanes are entries of one line, as keys are in kernels/attention; its queries are packed, 64 at a time:
//
//   p  [64][lanes] = e^(Q Kt - lse - lse_rest)
//   ds [64][lanes] = p (dO Vt - delta)
//   dv [C][lanes] += dOt p     dk [E][lanes] += Qt ds     dq [64][E] += ds K
//
// The logits are forward's, bit for bit: the same products q scale, summed in the same order.
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

  Index width() const { return q.dim(3); }
  Index value_width() const { return dout.dim(3); }
  Index padded_width() const { return WholeVectors<T>(width()); }
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
  Scratch<T> q, dout, lse, rest, delta, dq;                                          // of the line's queries
  Scratch<T> k_strip, v_strip, k_rows, dk_strip, dv_strip, dk_rows, dv_rows, spare;  // of a strip of entries
};

template <class T>
void PackQueries(const GradArguments<T>& args, Index b, Index h, GradMemory<T>& memory) {
  const Index count = static_cast<Index>(memory.line.positions.size());
  T *q = memory.q.of(count * args.width()), *dout = memory.dout.of(count * args.value_width());
  T *lse = memory.lse.of(count), *rest = memory.rest.of(count), *delta = memory.delta.of(count);
  const Index width = args.width();
  for (const Index i : memory.line.positions) {
    const T* from = &args.q(b, h, i, 0);
    for (Index e = 0; e < width; ++e) q[e] = args.scale * from[e];
    q += width;
    dout = std::copy_n(&args.dout(b, h, i, 0), args.value_width(), dout);
    const T known = args.lse(b, h, i);  // -inf where the query sees nothing: then every p is 0
    *lse++ = known == -std::numeric_limits<T>::infinity() ? std::numeric_limits<T>::max() : known;
    *rest++ = args.lse_rest(b, h, i) * std::numbers::log2e_v<T>;
    *delta = Dot(&args.dout(b, h, i, 0), &args.out(b, h, i, 0), args.value_width());
    if (args.dlse.defined()) *delta -= args.dlse.template view<const T, 3>()(b, h, i);
    ++delta;
  }
  std::fill_n(memory.dq.of(count * args.padded_width()), count * args.padded_width(), T(0));
}

// The numbers of the queries that see each lane's entry.
template <class T>
struct LaneSight {
  HWY_ALIGN T low[kStrip<T>], high[kStrip<T>], inverted[kStrip<T>];

  explicit LaneSight(std::span<const Entry> entries) {
    std::fill_n(low, kStrip<T>, std::numeric_limits<T>::lowest());
    std::fill_n(high, kStrip<T>, std::numeric_limits<T>::max());
    std::fill_n(inverted, kStrip<T>, T(0));
    for (std::size_t lane = 0; lane < entries.size(); ++lane) {
      low[lane] = static_cast<T>(entries[lane].low);
      high[lane] = static_cast<T>(entries[lane].high);
      inverted[lane] = entries[lane].inverted ? T(1) : T(0);
    }
  }
};

// Rows of the block are queries; where one does not see a lane's entry, the logit becomes -inf.
template <class T>
HWY_INLINE void HideFromQueries(T* block, const LaneSight<T>& sight, const Index* numbers, Index count) {
  const Vector<T> d;
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
    const auto low = hn::Load(d, sight.low + lane), high = hn::Load(d, sight.high + lane);
    const auto inverted = hn::Load(d, sight.inverted + lane), one = hn::Set(d, T(1));
    for (Index i = 0; i < count; ++i) {
      const auto u = hn::Set(d, static_cast<T>(numbers[i]));
      const auto inside = hn::IfThenElseZero(hn::And(hn::Ge(u, low), hn::Lt(u, high)), one);
      T* logit = block + i * kStrip<T> + lane;
      hn::Store(hn::IfThenElse(hn::Eq(inside, inverted), nothing, hn::Load(d, logit)), d, logit);
    }
  }
}

template <class T>
void DropFromQueries(const GradArguments<T>& args, Index b, Index h, const Index* positions, Index count,
                     std::span<const Entry> entries, T* block) {
  for (Index i = 0; i < count; ++i)
    for (std::size_t lane = 0; lane < entries.size(); ++lane)
      block[i * kStrip<T> + static_cast<Index>(lane)] *=
          static_cast<T>(args.dropout.factor(b, h, positions[i], entries[lane]));
}

// rows[l] += strip[.][l]
template <class T>
void AddStrip(const T* strip, Index width, const StripRows<T>& to, std::size_t count, Scratch<T>& memory, T* spare) {
  HWY_ALIGN T ones[kStrip<T>];
  std::fill_n(ones, kStrip<T>, T(1));
  T* rows = memory.of(kStrip<T> * width);
  StripRows<T> share(spare);
  for (std::size_t lane = 0; lane < count; ++lane) share.row[lane] = rows + static_cast<Index>(lane) * width;
  StoreStrip(strip, ones, width, share);
  for (std::size_t lane = 0; lane < count; ++lane)
    for (Index e = 0; e < width; ++e) to.row[lane][e] += share.row[lane][e];
}

// The first of a line's queries that sees one of the entries, and behind the last.
inline std::pair<Index, Index> QueriesOf(std::span<const Entry> entries, const std::vector<Index>& numbers) {
  Index low = std::numeric_limits<Index>::max(), high = 0;
  for (const Entry& entry : entries) {
    low = std::min(low, entry.inverted ? 0 : entry.low);
    high = std::max(high, entry.inverted ? std::numeric_limits<Index>::max() : entry.high);
  }
  return {std::lower_bound(numbers.begin(), numbers.end(), low) - numbers.begin(),
          std::lower_bound(numbers.begin(), numbers.end(), high) - numbers.begin()};
}

// The shares of a line's queries in the gradients of a strip of its entries, and of those in its queries'.
template <class T>
void BackwardStrip(const GradArguments<T>& args, Index b, Index h, std::span<const Entry> entries,
                   const Targets<T>& targets, GradMemory<T>& memory) {
  const Vector<T> d;
  const Line& line = memory.line;
  const Index width = args.width(), value_width = args.value_width(), padded_width = args.padded_width();
  const Index keys = static_cast<Index>(entries.size());
  T *k_strip = memory.k_strip.of(width * kStrip<T>), *v_strip = memory.v_strip.of(value_width * kStrip<T>);
  T *dk_strip = memory.dk_strip.of(width * kStrip<T>), *dv_strip = memory.dv_strip.of(value_width * kStrip<T>);
  T *k_rows = memory.k_rows.of(kStrip<T> * padded_width), *spare = memory.spare.of(std::max(width, value_width));
  std::fill_n(spare, std::max(width, value_width), T(0));
  std::fill_n(dk_strip, width * kStrip<T>, T(0));
  std::fill_n(dv_strip, value_width * kStrip<T>, T(0));
  StripRows<const T> k(spare), v(spare);
  StripRows<T> dk(spare), dv(spare);
  for (std::size_t lane = 0; lane < entries.size(); ++lane) {
    const Entry& entry = entries[lane];
    const Target<T>& target = targets.of(entry);
    k.row[lane] = RowOf(args.tables.k, b, h, entry);
    v.row[lane] = RowOf(args.tables.v, b, h, entry);
    dk.row[lane] = target.k + (entry.row - target.first) * target.k_row;
    dv.row[lane] = target.v + (entry.row - target.first) * target.v_row;
  }
  LoadStrip(k, width, T(1), k_strip);
  LoadStrip(v, value_width, T(1), v_strip);
  LoadPaddedRows(k, keys, width, args.scale, padded_width, k_rows);
  const LaneSight<T> sight(entries);
  HWY_ALIGN T p_block[kBlock * kStrip<T>], ds_block[kBlock * kStrip<T>];
  const Panel<T> p{p_block, kStrip<T>}, ds{ds_block, kStrip<T>};

  const auto [begin, end] = QueriesOf(entries, line.numbers);
  for (Index i = begin; i < end; i += kBlock) {
    const Index rows = std::min(kBlock, end - i);
    const Index *numbers = line.numbers.data() + i, *positions = line.positions.data() + i;
    const Coverage seen = CoverageOf(entries.data(), keys, numbers[0], numbers[rows - 1]);
    if (seen == Coverage::none) continue;
    const T *q = memory.q.of(0) + i * width, *dout = memory.dout.of(0) + i * value_width;
    Product<2, false>(d, rows, Left<T>{q, width, 1}, Panel<const T>{k_strip, kStrip<T>}, width, p);
    if (seen == Coverage::some) HideFromQueries(p_block, sight, numbers, rows);
    Product<2, false>(d, rows, Left<T>{dout, value_width, 1}, Panel<const T>{v_strip, kStrip<T>}, value_width, ds);
    if (args.dropout.active()) DropFromQueries(args, b, h, positions, rows, entries, ds_block);
    Differentiate(p_block, ds_block, rows, memory.lse.of(0) + i, memory.rest.of(0) + i, memory.delta.of(0) + i);
    if (args.dropout.active()) DropFromQueries(args, b, h, positions, rows, entries, p_block);
    Product<2, true>(d, value_width, Left<T>{dout, 1, value_width}, Panel<const T>{p_block, kStrip<T>}, rows,
                     Panel<T>{dv_strip, kStrip<T>});
    Product<2, true>(d, width, Left<T>{q, 1, width}, Panel<const T>{ds_block, kStrip<T>}, rows,
                     Panel<T>{dk_strip, kStrip<T>});
    AddWeightedRows(ds_block, rows, keys, k_rows, padded_width, memory.dq.of(0) + i * padded_width);
  }
  AddStrip(dk_strip, width, dk, entries.size(), memory.dk_rows, spare);
  AddStrip(dv_strip, value_width, dv, entries.size(), memory.dv_rows, spare);
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
      if (stage == 0) std::fill_n(&args.dq(b, h, i, 0), args.width(), T(0));
    if (line.entries.empty()) continue;
    PackQueries(args, b, h, memory);
    const std::span<const Entry> entries(line.entries);
    for (std::size_t first = 0; first < entries.size(); first += kStrip<T>)
      BackwardStrip(args, b, h,
                    entries.subspan(first, std::min(entries.size() - first, static_cast<std::size_t>(kStrip<T>))),
                    targets, memory);
    const T* row = memory.dq.of(0);
    for (const Index i : line.positions) {
      T* dq = &args.dq(b, h, i, 0);
      for (Index e = 0; e < args.width(); ++e) dq[e] = stage == 0 ? row[e] : dq[e] + row[e];
      row += args.padded_width();
    }
  }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
