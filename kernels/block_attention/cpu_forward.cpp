#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/block_attention/cpu_forward.cpp"
#include "subquad/kernels/block_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/block_attention/line-inl.h"

// Lanes are queries of one line, as in kernels/attention; the keys are the line's entries, packed, 64 at a time:
//
//   block [64][lanes] = K Qt            logits: Qt [E][lanes] is scaled; hidden ones become -inf
//   block = e^(block - maximum)         the running maximum of each lane; what was summed before follows it down
//   out [C][lanes] += Vt block
//
// A second stage takes up out, lse and lse_rest where the first one left them.
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
};

template <class T>
struct ForwardMemory {
  Line line;
  Scratch<T> k, v, q, out, spare;
};

template <class T>
T* PackEntries(const std::vector<View<const T, 4>>& tables, Index b, Index h, const std::vector<Entry>& entries,
               Scratch<T>& memory) {
  const Index width = tables[0].dim(3);
  T* const packed = memory.of(static_cast<Index>(entries.size()) * width);
  T* to = packed;
  for (const Entry& entry : entries) to = std::copy_n(RowOf(tables, b, h, entry), width, to);
  return packed;
}

// The first entry that one of the queries number lowest ... highest sees, and behind the last.
inline std::pair<Index, Index> EntriesOf(const std::vector<Entry>& entries, Index lowest, Index highest) {
  Index begin = 0, end = static_cast<Index>(entries.size());
  const auto blind = [&](Index e) { return entries[static_cast<std::size_t>(e)].seen_by_none(lowest, highest); };
  while (begin < end && blind(begin)) ++begin;
  while (begin < end && blind(end - 1)) --end;
  return {begin, end};
}

// Rows of the block are entries; lanes whose query does not see one get -inf.
template <class T>
HWY_INLINE void HideEntries(T* block, const Entry* entries, Index count, const T* numbers) {
  const Vector<T> d;
  const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index e = 0; e < count; ++e) {
    const auto low = hn::Set(d, static_cast<T>(entries[e].low)), high = hn::Set(d, static_cast<T>(entries[e].high));
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
      const auto u = hn::Load(d, numbers + lane);
      const auto inside = hn::And(hn::Ge(u, low), hn::Lt(u, high));
      T* to = block + e * kStrip<T> + lane;
      const auto logit = hn::Load(d, to);
      const auto kept =
          entries[e].inverted ? hn::IfThenElse(inside, nothing, logit) : hn::IfThenElse(inside, logit, nothing);
      hn::Store(kept, d, to);
    }
  }
}

template <class T>
void DropEntries(const DirectDropout& dropout, Index b, Index h, std::span<const Index> positions, const Entry* entries,
                 Index count, T* block) {
  for (Index e = 0; e < count; ++e)
    for (std::size_t lane = 0; lane < positions.size(); ++lane)
      block[e * kStrip<T> + static_cast<Index>(lane)] *=
          static_cast<T>(dropout.factor(b, h, positions[lane], entries[e]));
}

template <class T>
Online<T> TakeUp(const ForwardArguments<T>& args, Index b, Index h, std::span<const Index> positions, const T* spare,
                 T* out_strip) {
  const Vector<T> d;
  HWY_ALIGN T tops[kStrip<T>], sums[kStrip<T>];
  StripRows<const T> rows(spare);
  std::fill_n(tops, kStrip<T>, std::numeric_limits<T>::lowest());
  std::fill_n(sums, kStrip<T>, T(0));
  for (std::size_t lane = 0; lane < positions.size(); ++lane) {
    const Index i = positions[lane];
    rows.row[lane] = &args.out(b, h, i, 0);
    if (args.lse(b, h, i) == -std::numeric_limits<T>::infinity()) continue;  // has seen nothing so far
    tops[lane] = args.lse(b, h, i);
    sums[lane] = std::exp(args.lse_rest(b, h, i));
  }
  LoadStrip(rows, args.out.dim(3), T(1), out_strip);
  return {{hn::Load(d, tops), hn::Load(d, tops + kLanes<T>)}, {hn::Load(d, sums), hn::Load(d, sums + kLanes<T>)}};
}

template <class T>
void PutDown(const ForwardArguments<T>& args, Index b, Index h, std::span<const Index> positions,
             const Online<T>& online, const T* out_strip, T* spare) {
  StripSums<T> sums(online);
  for (Index lane = 0; lane < kStrip<T>; ++lane)
    if (sums.sum[lane] == 0) sums.share[lane] = 0;  // has seen nothing
  StoreStrip(out_strip, sums.share, args.out.dim(3), StripRows<T>(args.out, b, h, positions, spare));
  std::fill_n(spare, args.out.dim(3), T(0));
  for (std::size_t lane = 0; lane < positions.size(); ++lane) {
    T *lse = &args.lse(b, h, positions[lane]), *rest = &args.lse_rest(b, h, positions[lane]);
    *lse = -std::numeric_limits<T>::infinity();
    *rest = 0;
    if (sums.sum[lane] > 0) sums.store_lse(lane, lse, rest);
  }
}

template <class T>
void PutNothing(const ForwardArguments<T>& args, Index b, Index h, const std::vector<Index>& blind) {
  for (const Index i : blind) {
    std::fill_n(&args.out(b, h, i, 0), args.out.dim(3), T(0));
    args.lse(b, h, i) = -std::numeric_limits<T>::infinity();
    args.lse_rest(b, h, i) = 0;
  }
}

template <class T>
void ForwardLine(const ForwardArguments<T>& args, Index b, Index h, bool resume, ForwardMemory<T>& memory) {
  const Vector<T> d;
  const Line& line = memory.line;
  const Index width = args.q.dim(3), value_width = args.out.dim(3);
  const T *k_rows = PackEntries(args.tables.k, b, h, line.entries, memory.k),
          *v_rows = PackEntries(args.tables.v, b, h, line.entries, memory.v);
  T *q_strip = memory.q.of(width * kStrip<T>), *out_strip = memory.out.of(value_width * kStrip<T>);
  T* spare = memory.spare.of(std::max(width, value_width));
  std::fill_n(spare, std::max(width, value_width), T(0));
  HWY_ALIGN T block[kBlock * kStrip<T>], numbers[kStrip<T>];
  const Panel<T> logits{block, kStrip<T>}, out{out_strip, kStrip<T>};

  for (std::size_t first = 0; first < line.positions.size(); first += kStrip<T>) {
    const auto positions = std::span<const Index>(line.positions)
                               .subspan(first)
                               .first(std::min(line.positions.size() - first, static_cast<std::size_t>(kStrip<T>)));
    const Index lowest = line.numbers[first], highest = line.numbers[first + positions.size() - 1];
    std::fill_n(numbers, kStrip<T>, static_cast<T>(highest));
    for (std::size_t lane = 0; lane < positions.size(); ++lane)
      numbers[lane] = static_cast<T>(line.numbers[first + lane]);
    LoadStrip(StripRows<const T>(args.q, b, h, positions, spare), width, args.scale, q_strip);
    Online<T> online = NothingYet<T>();
    std::fill_n(out_strip, value_width * kStrip<T>, T(0));
    if (resume) online = TakeUp(args, b, h, positions, spare, out_strip);
    const auto [begin, end] = EntriesOf(line.entries, lowest, highest);
    for (Index e = begin; e < end; e += kBlock) {
      const Index rows = std::min(kBlock, end - e);
      const Entry* some = line.entries.data() + e;
      const Coverage seen = CoverageOf(some, rows, lowest, highest);
      if (seen == Coverage::none) continue;
      Product<2, false>(d, rows, Left<T>{k_rows + e * width, width, 1}, Panel<const T>{q_strip, kStrip<T>}, width,
                        logits);
      if (seen == Coverage::some) HideEntries(block, some, rows, numbers);
      Weigh(block, rows, online, out.data, value_width);
      if (args.dropout.active()) DropEntries(args.dropout, b, h, positions, some, rows, block);
      Product<2, true>(d, value_width, Left<T>{v_rows + e * value_width, 1, value_width},
                       Panel<const T>{block, kStrip<T>}, rows, out);
    }
    PutDown(args, b, h, positions, online, out_strip, spare);
  }
}

template <class T>
void Forward(const ForwardArguments<T>& args) {
  constexpr Index kQueries = 256;  // of a task, about
  const Index heads = args.q.dim(1), n = args.q.dim(2);
  for (int stage = 0; stage < args.sight.stages(); ++stage) {
    const Index lines = args.sight.lines(stage);
    const Index per_task = std::max<Index>(1, kQueries / std::max<Index>(1, args.sight.line_length(stage)));
    const Index tasks = (lines + per_task - 1) / per_task;
    const Index work = kQueries * 64 * (args.q.dim(3) + args.out.dim(3)) / 8;
    parallel_for(n == 0 ? 0 : args.q.dim(0) * heads * tasks, work, [&](Index task) {
      const Index b = task / tasks / heads, h = task / tasks % heads, begin = task % tasks * per_task;
      ForwardMemory<T> memory;
      for (Index number = begin; number < std::min(lines, begin + per_task); ++number) {
        args.sight.find(b, stage, number, memory.line);
        if (stage == 0) PutNothing(args, b, h, memory.line.blind);
        if (!memory.line.entries.empty()) ForwardLine(args, b, h, stage > 0, memory);
      }
    });
  }
}

}  // namespace

void BlockAttention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                    const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                    BlockAttentionOutput& result) {
  const Sight sight(pattern, mask, k.dim(0), k.dim(2));
  visit_float("block_attention", q.dtype(), [&]<class T>(Type<T>) {
    Forward<T>({q.view<const T, 4>(), Tables<T>(k, v, summaries), sight, static_cast<T>(options.scale),
                DirectDropout(options, q.dim(1)), result.out.view<T, 4>(), result.lse.view<T, 3>(),
                result.lse_rest.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(BlockAttention);

void cpu::block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                          const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                          BlockAttentionOutput& result) {
  SUBQUAD_DISPATCH(BlockAttention)(q, k, v, summaries, pattern, mask, options, result);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
