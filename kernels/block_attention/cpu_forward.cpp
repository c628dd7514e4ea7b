#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/block_attention/cpu_forward.cpp"
#include "subquad/kernels/block_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/block_attention/columns_forward-inl.h"

// Lanes are queries of one line, as in kernels/attention; the keys are the line's entries, where they lie or packed, 64
// at a time:
//
//   block [64][lanes] = K Qt            logits: Qt [E][lanes] is scaled; hidden ones become -inf
//   block = e^(block - maximum)         the running maximum of each lane; what was summed before follows it down
//   out [C][lanes] += Vt block
//
// A second stage takes up where the first one stopped.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct ForwardMemory {
  Line line;
  std::vector<Run<T>> runs;
  Scratch<T> k, v, q, out, spare;
};

// Between two stages out holds sums, lse the maximum and lse_rest the sum of weights relative to it.
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
    sums[lane] = args.lse_rest(b, h, i);
  }
  LoadStrip(rows, args.out.dim(3), T(1), out_strip);
  return {{hn::Load(d, tops), hn::Load(d, tops + kLanes<T>)}, {hn::Load(d, sums), hn::Load(d, sums + kLanes<T>)}};
}

template <class T>
void PutDown(const ForwardArguments<T>& args, Index b, Index h, std::span<const Index> positions, bool finished,
             const Online<T>& online, const T* out_strip, T* spare) {
  StripSums<T> sums(online);
  for (Index lane = 0; lane < kStrip<T>; ++lane) {
    if (!finished) sums.share[lane] = 1;
    if (sums.sum[lane] == 0) sums.share[lane] = 0;  // has seen nothing
  }
  StoreStrip(out_strip, sums.share, args.out.dim(3), StripRows<T>(args.out, b, h, positions, spare));
  std::fill_n(spare, args.out.dim(3), T(0));
  const auto put = [&](std::size_t lane, T lse, T rest) {
    const bool nothing = sums.sum[lane] == 0;
    args.lse(b, h, positions[lane]) = nothing ? -std::numeric_limits<T>::infinity() : lse;
    args.lse_rest(b, h, positions[lane]) = nothing ? T(0) : rest;
  };
  if (finished)
    sums.for_lse(positions.size(), put);
  else
    for (std::size_t lane = 0; lane < positions.size(); ++lane) put(lane, sums.top[lane], sums.sum[lane]);
}

// `halves` vectors of queries.
template <int halves, class T>
void ForwardStrip(const ForwardArguments<T>& args, Index b, Index h, int stage, const Strip<T>& strip,
                  ForwardMemory<T>& memory) {
  const Vector<T> d;
  const Line& line = memory.line;
  const Index width = args.q.dim(3), value_width = args.out.dim(3);
  T *q_strip = memory.q.of(width * kStrip<T>), *out_strip = memory.out.of(value_width * kStrip<T>);
  T* spare = memory.spare.of(std::max(width, value_width));
  std::fill_n(spare, std::max(width, value_width), T(0));
  HWY_ALIGN T block[kBlock * kStrip<T>];
  const Panel<T> logits{block, kStrip<T>}, out{out_strip, kStrip<T>};

  for (const Index i : strip.positions) FetchAhead(&args.q(b, h, i, 0), line.to_next * args.q.stride(2), width);
  LoadStrip(StripRows<const T>(args.q, b, h, strip.positions, spare), width, args.scale, q_strip);
  Online<T> online = NothingYet<T>();
  if (stage > 0)
    online = TakeUp(args, b, h, strip.positions, spare, out_strip);
  else
    std::fill_n(out_strip, value_width * kStrip<T>, T(0));
  ForBlocks(line.entries, strip, [&](const Entry* entries, Index begin, Index count) HWY_ATTR {
    ForRuns(memory.runs, begin, count, [&](const Run<T>& run, Index first, Index at, Index rows) HWY_ATTR {
      Product<halves, false>(d, rows, Left<T>{run.k + first * run.k_row, run.k_row, 1},
                             Panel<const T>{q_strip, kStrip<T>}, width, logits.from_row(at));
    });
    HideEntries(entries, count, strip, block);
    Weigh<halves>(block, count, online, out_strip, value_width);
    if (args.dropout.active()) DropEntries(args.dropout, b, h, strip.positions, entries, count, block);
    ForRuns(memory.runs, begin, count, [&](const Run<T>& run, Index first, Index at, Index rows) HWY_ATTR {
      Product<halves, true>(d, value_width, Left<T>{run.v + first * run.v_row, 1, run.v_row},
                            Panel<const T>{block + at * kStrip<T>, kStrip<T>}, rows, out);
    });
  });
  PutDown(args, b, h, strip.positions, args.finishes(stage), online, out_strip, spare);
}

template <class T>
void ForwardLine(const ForwardArguments<T>& args, Index b, Index h, int stage, ForwardMemory<T>& memory) {
  const Line& line = memory.line;
  const auto anywhere = [](const Entry&, const Entry&) { return true; };
  FindRuns(args.tables, b, h, line, memory.k, memory.v, anywhere, memory.runs);
  for (Index first = 0; first < static_cast<Index>(line.positions.size()); first += kStrip<T>) {
    const Strip<T> strip(line, first);
    if (strip.fills_one_vector())
      ForwardStrip<1>(args, b, h, stage, strip, memory);
    else
      ForwardStrip<2>(args, b, h, stage, strip, memory);
  }
}

template <class T>
void Forward(const ForwardArguments<T>& args, int first_stage = 0) {
  constexpr Index kQueries = 256;  // of a task, about
  const Index heads = args.q.dim(1), n = args.q.dim(2);
  for (int stage = first_stage; stage < args.sight.stages(); ++stage) {
    const Index lines = args.sight.lines(stage);
    if (GoAbreast<T>(args.sight, stage) && n > 0) {
      ForColumns<T>(args.sight, stage, args.q.dim(0), heads, kQueries * 64 * (args.q.dim(3) + args.out.dim(3)) / 8,
                    [&](Index b, Index h, const Columns& columns) { ForwardAbreast(args, b, h, stage, columns); });
      continue;
    }
    const Index per_task = std::max<Index>(1, kQueries / std::max<Index>(1, args.sight.line_length(stage)));
    const Index tasks = (lines + per_task - 1) / per_task;
    const Index work = kQueries * 64 * (args.q.dim(3) + args.out.dim(3)) / 8;
    parallel_for(n == 0 ? 0 : args.q.dim(0) * heads * tasks, work, [&](Index task) {
      const Index b = task / tasks / heads, h = task / tasks % heads, begin = task % tasks * per_task;
      ForwardMemory<T> memory;
      for (Index number = begin; number < std::min(lines, begin + per_task); ++number) {
        args.sight.find(b, stage, number, memory.line);
        if (stage == 0) args.put_nothing(b, h, memory.line.blind);
        if (!memory.line.entries.empty()) ForwardLine(args, b, h, stage, memory);
      }
    });
  }
}

// Leaves what a first stage would have left that saw what `row` saw.
template <class T>
void StandIn(const BlockAttentionOutput& row, const ForwardArguments<T>& args) {
  const Vector<T> d;
  const auto from = row.out.view<const T, 4>();
  const auto lse = row.lse.view<const T, 3>(), rest = row.lse_rest.view<const T, 3>();
  const Index heads = args.q.dim(1), n = args.q.dim(2), width = args.out.dim(3);
  ForRows(args.q.dim(0) * n * heads, width, 1, [&](Index at) HWY_ATTR {
    const Index b = at / heads / n, i = at / heads % n, h = at % heads;
    const bool sees = args.sight.real(b, i) && lse(b, h, i) != -std::numeric_limits<T>::infinity();
    const T sum = sees ? std::exp(rest(b, h, i)) : T(0);
    args.lse(b, h, i) = sees ? lse(b, h, i) : -std::numeric_limits<T>::infinity();
    args.lse_rest(b, h, i) = sum;
    const T* sums = &from(b, h, i, 0);
    T* to = &args.out(b, h, i, 0);
    if (!sees) {  // what stands at padded positions is not read
      std::fill_n(to, width, T(0));
      return;
    }
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Mul(hn::Set(d, sum), lanes.Load(sums + c)), to + c);
    });
  });
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

void BlockAttentionAcross(const Tensor& q, const Tensor& k_span, const BlockAttentionOutput& row,
                          const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                          BlockAttentionOutput& result) {
  const Sight sight(pattern, mask, q.dim(0), q.dim(2));
  visit_float("block_attention_across", q.dtype(), [&]<class T>(Type<T>) {
    const Tables<T> tables(k_span, row.out, {{k_span, row.out}});  // no stage that is left looks at the tokens
    const ForwardArguments<T> args = {q.view<const T, 4>(),
                                      tables,
                                      sight,
                                      static_cast<T>(options.scale),
                                      DirectDropout({}, q.dim(1)),
                                      result.out.view<T, 4>(),
                                      result.lse.view<T, 3>(),
                                      result.lse_rest.view<T, 3>()};
    StandIn(row, args);
    Forward(args, 1);
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(BlockAttention);
HWY_EXPORT(BlockAttentionAcross);

void cpu::block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                          const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                          BlockAttentionOutput& result) {
  SUBQUAD_DISPATCH(BlockAttention)(q, k, v, summaries, pattern, mask, options, result);
}

void cpu::block_attention_across(const Tensor& q, const Tensor& k_span, const BlockAttentionOutput& row,
                                 const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                                 BlockAttentionOutput& result) {
  SUBQUAD_DISPATCH(BlockAttentionAcross)(q, k_span, row, pattern, mask, options, result);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
