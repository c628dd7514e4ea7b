#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/span_attention/cpu.cpp"
#include "subquad/kernels/span_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/dropout/keep.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/softmax/exponentials-inl.h"
#include "subquad/kernels/spans/spans.h"

// Rows are read in place, features are lanes; a span's weights stand in one array.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
HWY_INLINE T DotRows(const T* a, const T* b, Index width) {
  const hn::ScalableTag<T> d;
  auto sum = hn::Zero(d);
  ForVectors(d, width,
             [&](Index c, auto lanes) HWY_ATTR { sum = hn::MulAdd(lanes.Load(a + c), lanes.Load(b + c), sum); });
  return SumLanes(d, sum);
}

template <class T>
HWY_INLINE void AddRow(T factor, const T* row, Index width, T* sum) {
  const hn::ScalableTag<T> d;
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
    lanes.Store(hn::MulAdd(hn::Set(d, factor), lanes.Load(row + c), lanes.Load(sum + c)), sum + c);
  });
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
  std::vector<T> weights;

  void find(const Arguments<T>& args, Index b, Index s) {
    positions.clear();
    const Span span = span_at(args.spans, b, s, args.k.dim(2));
    const bool* real = args.mask.defined() ? args.mask.real.template data<bool>() + b * args.k.dim(2) : nullptr;
    for (Index i = span.begin; i < span.end; ++i)
      if (real == nullptr || real[i]) positions.push_back(i);
    weights.resize(positions.size());
  }
  // Returns lse. Backward makes the same bits again, rather than trust a large lse that has been rounded.
  T weigh(const Arguments<T>& args, Index b, Index h, Index s) {
    const hn::ScalableTag<T> d;
    const T* q = &args.q(b, h, s, 0);
    for (std::size_t a = 0; a < positions.size(); ++a)
      weights[a] = args.scale * DotRows(q, &args.k(b, h, positions[a], 0), args.q.dim(3));
    T* p = weights.data();
    const T shift = RowShift(d, p, count()), sum = ExponentialsOfRow(d, p, shift, count(), p);
    ScaleRow(d, 1 / sum, count(), p);
    return shift + std::log(sum);
  }
  Index count() const { return static_cast<Index>(positions.size()); }
};

template <class T>
void ForwardSpan(const Arguments<T>& args, Index b, Index h, Index s, SpanWeights<T>& span, View<T, 4> out,
                 View<T, 3> lse) {
  span.find(args, b, s);
  T* to = &out(b, h, s, 0);
  std::fill_n(to, out.dim(3), T(0));
  lse(b, h, s) = -std::numeric_limits<T>::infinity();
  if (span.count() == 0) return;
  lse(b, h, s) = span.weigh(args, b, h, s);
  for (Index a = 0; a < span.count(); ++a) {
    const Index j = span.positions[static_cast<std::size_t>(a)];
    const T p = span.weights[static_cast<std::size_t>(a)];
    AddRow(args.keep ? p * args.factor(b, h, s, j) : p, &args.v(b, h, j, 0), out.dim(3), to);
  }
}

template <class T>
struct GradViews {
  View<const T, 4> dout, out;
  View<T, 4> dq, dk, dv;
};

template <class T>
void BackwardSpan(const Arguments<T>& args, const GradViews<T>& views, Index b, Index h, Index s,
                  SpanWeights<T>& span) {
  const Index width = args.q.dim(3), value_width = args.v.dim(3);
  span.find(args, b, s);
  if (span.count() == 0) return;
  span.weigh(args, b, h, s);
  const T *dout = &views.dout(b, h, s, 0), *q = &args.q(b, h, s, 0);
  const T delta = DotRows(dout, &views.out(b, h, s, 0), value_width);
  for (Index a = 0; a < span.count(); ++a) {
    const Index j = span.positions[static_cast<std::size_t>(a)];
    const T factor = args.keep ? args.factor(b, h, s, j) : T(1), p = span.weights[static_cast<std::size_t>(a)];
    const T ds = args.scale * p * (factor * DotRows(dout, &args.v(b, h, j, 0), value_width) - delta);
    AddRow(factor * p, dout, value_width, &views.dv(b, h, j, 0));
    AddRow(ds, q, width, &views.dk(b, h, j, 0));
    AddRow(ds, &args.k(b, h, j, 0), width, &views.dq(b, h, s, 0));
  }
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
