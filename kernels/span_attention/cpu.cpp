#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/span_attention/cpu.cpp"
#include "subquad/kernels/span_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/dropout/keep.h"
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/softmax/exponentials-inl.h"
#include "subquad/kernels/spans/spans.h"

// Rows are read in place, features are lanes; a span's weights stand in one array.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(hn::ScalableTag<T>()));

template <class T>
HWY_INLINE T DotRows(const T* a, const T* b, Index width) {
  const hn::ScalableTag<T> d;
  auto sum = hn::Zero(d);
  ForVectors(d, width,
             [&](Index c, auto lanes) HWY_ATTR { sum = hn::MulAdd(lanes.Load(a + c), lanes.Load(b + c), sum); });
  return SumLanes(d, sum);
}

// The rows of one head.
template <class T>
struct HeadRows {
  T* data;
  Index step;

  HeadRows(View<T, 4> x, Index b, Index h) : data(&x(b, h, 0, 0)), step(x.stride(2)) {}
  T* operator[](Index i) const { return data + i * step; }

  // Asks for a row that is read soon: spans come in order, but the heads' rows lie between each other, which processors
  // do not see through.
  void fetch_ahead(Index i, Index width) const {
    constexpr Index kAhead = 32;
    for (Index c = 0; c < width; c += static_cast<Index>(kAlignment / sizeof(T)))
      hwy::Prefetch((*this)[i + kAhead] + c);
  }
};

// Lane r is row . rows[r], for as many rows as lanes. Unrolled, or the compiler clears the sums in memory first, which
// takes longer than all the rest.
template <class T>
HWY_INLINE hn::Vec<hn::ScalableTag<T>> DotsOfLanes(const T* row, const T* const* rows, Index width) {
  const hn::ScalableTag<T> d;
  hn::Vec<decltype(d)> sums[kLanes<T>];
#pragma GCC unroll 16
  for (Index r = 0; r < kLanes<T>; ++r) sums[r] = hn::Zero(d);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    const auto left = lanes.Load(row + c);
#pragma GCC unroll 16
    for (Index r = 0; r < kLanes<T>; ++r) sums[r] = hn::MulAdd(left, lanes.Load(rows[r] + c), sums[r]);
  });
  return AddLanesOf(d, sums);
}

// dots[a] = factor * row . rows[positions[a]], as many at a time as there are lanes; `beyond` up to a whole vector.
template <class T>
HWY_INLINE void DotsOfRows(const T* row, const HeadRows<const T>& rows, const std::vector<Index>& positions,
                           Index width, T factor, T beyond, T* dots) {
  const hn::ScalableTag<T> d;
  const Index count = static_cast<Index>(positions.size());
  for (Index first = 0; first < count; first += kLanes<T>) {
    const Index* some = positions.data() + first;
    const Index rest = std::min(kLanes<T>, count - first);
    const T* from[kLanes<T>];  // lanes that have no row take the last one again
    for (Index r = 0; r < kLanes<T>; ++r) {
      const Index i = some[std::min(r, rest - 1)];
      rows.fetch_ahead(i, width);
      from[r] = rows[i];
    }
    const auto sums = hn::Mul(hn::Set(d, factor), DotsOfLanes(row, from, width));
    const auto there = hn::FirstN(d, static_cast<std::size_t>(rest));
    hn::StoreU(hn::IfThenElse(there, sums, hn::Set(d, beyond)), d, dots + first);
  }
}

template <class T>
struct Arguments {
  View<const T, 4> q, k, v;
  const Tensor& spans;
  const Mask& mask;
  T scale;
  std::optional<cpu::Keep> keep;

  Arguments(const Tensor& queries, const Tensor& keys, const Tensor& values, const Tensor& table, const Mask& real,
            const SpanAttentionOptions& options)
      : q(queries.view<const T, 4>()),
        k(keys.view<const T, 4>()),
        v(values.view<const T, 4>()),
        spans(table),
        mask(real),
        scale(static_cast<T>(options.scale)) {
    if (options.dropout > 0) keep.emplace(options.dropout, options.random);
  }

  // What the weight of position j is multiplied by.
  T factor(Index b, Index h, Index s, Index j) const {
    const Index* bounds = spans.data<Index>() + 2 * ((spans.dim(0) == 1 ? 0 : b * spans.dim(1)) + s);
    const auto place = static_cast<std::uint32_t>((bounds[0] + bounds[1]) * q.dim(1) + h);
    const auto feature = static_cast<std::uint32_t>(j);
    const PhiloxCounter words =
        philox4x32({feature / 4, place, static_cast<std::uint32_t>(keep->samples[b]), keep->step}, keep->key);
    return words[feature % 4] > keep->highest_dropped ? static_cast<T>(keep->scale) : T(0);
  }
};

// A span's real positions and their weights p(j | S).
template <class T>
struct SpanWeights {
  std::vector<Index> positions;
  std::vector<T> weights, slopes;  // whole vectors: a short span stays out of masked loads and stores

  void find(const Arguments<T>& args, Index b, Index s) {
    positions.clear();
    const Span span = span_at(args.spans, b, s, args.k.dim(2));
    const bool* real = args.mask.defined() ? args.mask.real.template data<bool>() + b * args.k.dim(2) : nullptr;
    for (Index i = span.begin; i < span.end; ++i)
      if (real == nullptr || real[i]) positions.push_back(i);
    const auto whole = static_cast<std::size_t>((count() + kLanes<T> - 1) / kLanes<T> * kLanes<T>);
    weights.resize(whole);
    slopes.resize(whole);
  }
  // Returns lse. Backward makes the same bits again, rather than trust a large lse that has been rounded.
  T weigh(const Arguments<T>& args, Index b, Index h, Index s) {
    const hn::ScalableTag<T> d;
    constexpr T kNever = -std::numeric_limits<T>::infinity();
    const Index whole = static_cast<Index>(weights.size());
    T* p = weights.data();
    DotsOfRows(&args.q(b, h, s, 0), HeadRows<const T>(args.k, b, h), positions, args.q.dim(3), args.scale, kNever, p);
    const T shift = RowShift(d, p, whole), sum = ExponentialsOfRow(d, p, shift, whole, p);
    ScaleRow(d, 1 / sum, whole, p);
    return shift + std::log(sum);
  }
  void drop(const Arguments<T>& args, Index b, Index h, Index s, std::vector<T>& of) const {
    for (std::size_t a = 0; a < positions.size(); ++a) of[a] *= args.factor(b, h, s, positions[a]);
  }
  Index count() const { return static_cast<Index>(positions.size()); }
};

template <class T>
void ForwardSpan(const Arguments<T>& args, Index b, Index h, Index s, SpanWeights<T>& span, View<T, 4> out,
                 View<T, 3> lse) {
  const hn::ScalableTag<T> d;
  span.find(args, b, s);
  T* to = &out(b, h, s, 0);
  lse(b, h, s) = -std::numeric_limits<T>::infinity();
  if (span.count() == 0) {
    std::fill_n(to, out.dim(3), T(0));
    return;
  }
  lse(b, h, s) = span.weigh(args, b, h, s);
  if (args.keep) span.drop(args, b, h, s, span.weights);
  const HeadRows<const T> v(args.v, b, h);
  for (const Index i : span.positions) v.fetch_ahead(i, out.dim(3));
  ForVectors(d, out.dim(3), [&](Index c, auto lanes) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (std::size_t a = 0; a < span.positions.size(); ++a)
      sum = hn::MulAdd(hn::Set(d, span.weights[a]), lanes.Load(v[span.positions[a]] + c), sum);
    lanes.Store(sum, to + c);
  });
}

template <class T>
struct GradViews {
  View<const T, 4> dout, out;
  View<T, 4> dq, dk, dv;
};

template <class T>
void BackwardSpan(const Arguments<T>& args, const GradViews<T>& views, Index b, Index h, Index s,
                  SpanWeights<T>& span) {
  const hn::ScalableTag<T> d;
  const Index value_width = args.v.dim(3);
  span.find(args, b, s);
  if (span.count() == 0) return;
  span.weigh(args, b, h, s);
  std::vector<T>&p = span.weights, &ds = span.slopes;
  const T *dout = &views.dout(b, h, s, 0), *q = &args.q(b, h, s, 0);
  const T delta = DotRows(dout, &views.out(b, h, s, 0), value_width);
  DotsOfRows(dout, HeadRows<const T>(args.v, b, h), span.positions, value_width, T(1), T(0), ds.data());
  if (args.keep) span.drop(args, b, h, s, ds);
  ForVectors(d, static_cast<Index>(ds.size()), [&](Index a, auto lanes) HWY_ATTR {
    const auto slope = hn::Sub(lanes.Load(&ds[static_cast<std::size_t>(a)]), hn::Set(d, delta));
    const auto weight = hn::Mul(hn::Set(d, args.scale), lanes.Load(&p[static_cast<std::size_t>(a)]));
    lanes.Store(hn::Mul(weight, slope), &ds[static_cast<std::size_t>(a)]);
  });
  if (args.keep) span.drop(args, b, h, s, p);

  const HeadRows<const T> k(args.k, b, h);
  const HeadRows<T> dk(views.dk, b, h), dv(views.dv, b, h);
  for (const Index i : span.positions) {
    dk.fetch_ahead(i, args.q.dim(3));
    dv.fetch_ahead(i, value_width);
  }
  ForVectors(d, value_width, [&](Index c, auto lanes) HWY_ATTR {
    const auto up = lanes.Load(dout + c);
    for (std::size_t a = 0; a < span.positions.size(); ++a) {
      T* to = dv[span.positions[a]] + c;
      lanes.Store(hn::MulAdd(hn::Set(d, p[a]), up, lanes.Load(to)), to);
    }
  });
  T* dq = &views.dq(b, h, s, 0);
  ForVectors(d, args.q.dim(3), [&](Index c, auto lanes) HWY_ATTR {
    const auto query = lanes.Load(q + c);
    auto sum = lanes.Load(dq + c);
    for (std::size_t a = 0; a < span.positions.size(); ++a) {
      T* to = dk[span.positions[a]] + c;
      const auto slope = hn::Set(d, ds[a]);
      lanes.Store(hn::MulAdd(slope, query, lanes.Load(to)), to);
      sum = hn::MulAdd(slope, lanes.Load(k[span.positions[a]] + c), sum);
    }
    lanes.Store(sum, dq + c);
  });
}

// Spans of a task: some 256 positions of them. All heads of a task's positions come one after the other: their rows
// share pages, and often lie side by side.
template <class T>
Index SpansPerTask(const Arguments<T>& args) {
  return std::max<Index>(1, 256 * args.spans.dim(1) / std::max<Index>(1, args.k.dim(2)));
}

template <class T>
void Forward(const Arguments<T>& args, View<T, 4> out, View<T, 3> lse) {
  const Index heads = args.q.dim(1), count = args.spans.dim(1), per_task = SpansPerTask(args);
  const Index tasks = (count + per_task - 1) / per_task, work = 256 * (args.q.dim(3) + args.v.dim(3)) / 4;
  parallel_for(args.q.dim(0) * heads * tasks, work, [&](Index task) {
    const Index b = task / heads / tasks, h = task % heads, begin = task / heads % tasks * per_task;
    SpanWeights<T> span;
    for (Index s = begin; s < std::min(count, begin + per_task); ++s) ForwardSpan(args, b, h, s, span, out, lse);
  });
}

// Heads side by side where each sample has spans of its own; else spans that do not overlap, one run of them after the
// other.
template <class T>
void Backward(const Arguments<T>& args, const GradViews<T>& views) {
  const Index batch = args.q.dim(0), heads = args.q.dim(1), count = args.spans.dim(1), per_task = SpansPerTask(args);
  const Index work = (3 * args.q.dim(3) + 2 * args.v.dim(3)) / 4;  // of a position
  const auto spans = [&](Index b, Index h, Index begin, Index end) {
    SpanWeights<T> span;
    for (Index s = begin; s < end; ++s) BackwardSpan(args, views, b, h, s, span);
  };
  if (args.spans.dim(0) != 1) {
    parallel_for(batch * heads, args.k.dim(2) * work, [&](Index head) { spans(head / heads, head % heads, 0, count); });
    return;
  }
  for (const auto& run : disjoint_runs(args.spans, 0)) {
    const Index tasks = (run.second - run.first + per_task - 1) / per_task;
    parallel_for(batch * heads * tasks, 256 * work, [&](Index task) {
      const Index begin = run.first + task / heads % tasks * per_task;
      spans(task / heads / tasks, task % heads, begin, std::min(run.second, begin + per_task));
    });
  }
}

}  // namespace

void SpanAttention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans, const Mask& mask,
                   const SpanAttentionOptions& options, SpanAttentionOutput& result) {
  if (q.size() == 0) return;
  visit_float("span_attention", q.dtype(), [&]<class T>(Type<T>) {
    Forward<T>({q, k, v, spans, mask, options}, result.out.view<T, 4>(), result.lse.view<T, 3>());
  });
}

void SpanAttentionGrad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                       const Tensor& out, const Mask& mask, const SpanAttentionOptions& options,
                       SpanAttentionGrads& grads) {
  if (q.size() == 0) return;
  visit_float("span_attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    Backward<T>({q, k, v, spans, mask, options}, {dout.view<const T, 4>(), out.view<const T, 4>(),
                                                  grads.dq.view<T, 4>(), grads.dk.view<T, 4>(), grads.dv.view<T, 4>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(SpanAttention);
HWY_EXPORT(SpanAttentionGrad);

void cpu::span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans, const Mask& mask,
                         const SpanAttentionOptions& options, SpanAttentionOutput& result) {
  SUBQUAD_DISPATCH(SpanAttention)(q, k, v, spans, mask, options, result);
}

void cpu::span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& spans, const Tensor& out, const Mask& mask,
                              const SpanAttentionOptions& options, SpanAttentionGrads& grads) {
  SUBQUAD_DISPATCH(SpanAttentionGrad)(dout, q, k, v, spans, out, mask, options, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
