#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/span_attention/cpu.cpp"
#include "subquad/kernels/span_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/dropout/keep.h"
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/softmax/exponentials-inl.h"
#include "subquad/kernels/spans/spans.h"

// Rows are read in place, features are lanes; a span's weights stand in one array, those of short neighbouring spans in
// one vector: a span of two tokens would cost as much as one of sixteen.
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

// f(c, strip) for the columns c where two vectors begin, or the one that is left: what is read once per row serves
// both, and neither waits for the other's sum.
template <class D, class F>
HWY_INLINE void ForPairs(D d, Index width, const F& f) {
  constexpr Index kPair = 2 * hn::MaxLanes(d);
  Index c = 0;
  for (; c + kPair <= width; c += kPair) f(c, VectorStrip<2, WholeVector<D>>());
  ForVectors(d, width - c, [&](Index i, auto lanes) HWY_ATTR { f(c + i, VectorStrip<1, decltype(lanes)>{lanes}); });
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

// Lane r is left(r) . rows[r], for as many rows as lanes. Unrolled, or the compiler clears the sums in memory first,
// which takes longer than all the rest.
template <class T, class Lefts>
HWY_INLINE hn::Vec<hn::ScalableTag<T>> DotsOfLanes(const Lefts& left, const T* const* rows, Index width) {
  const hn::ScalableTag<T> d;
  hn::Vec<decltype(d)> sums[kLanes<T>];
#pragma GCC unroll 16
  for (Index r = 0; r < kLanes<T>; ++r) sums[r] = hn::Zero(d);
  ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
#pragma GCC unroll 16
    for (Index r = 0; r < kLanes<T>; ++r)
      sums[r] = hn::MulAdd(lanes.Load(left(r) + c), lanes.Load(rows[r] + c), sums[r]);
  });
  return AddLanesOf(d, sums);
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

  const bool* real(Index b) const { return mask.defined() ? mask.real.template data<bool>() + b * k.dim(2) : nullptr; }

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

// The real positions of neighbouring spans, and their weights p(j | S): of as many spans as fill a vector, or of one
// that is longer.
template <class T>
class SpanWeights {
 public:
  struct Part {  // positions [begin, end) are those of span s
    Index s;
    std::size_t begin, end;
  };
  std::vector<Part> parts;
  std::vector<Index> positions;
  std::vector<T> weights, slopes;  // whole vectors: a short span stays out of masked loads and stores

  // Takes spans from `first` on, the last one before `end`; returns the one behind.
  Index find(const Arguments<T>& args, Index b, Index first, Index end) {
    const bool* real = args.real(b);
    parts.clear();
    positions.clear();
    Index s = first;
    for (; s < end; ++s) {
      const Span span = span_at(args.spans, b, s, args.k.dim(2));
      if (s > first && count() + span.end - span.begin > kLanes<T>) break;
      const std::size_t begin = positions.size();
      positions.resize(begin + static_cast<std::size_t>(span.end - span.begin));
      const auto own = positions.begin() + static_cast<std::ptrdiff_t>(begin);
      std::iota(own, positions.end(), span.begin);
      if (real != nullptr)
        positions.erase(std::remove_if(own, positions.end(), [&](Index i) { return !real[i]; }), positions.end());
      parts.push_back({s, begin, positions.size()});
    }
    const auto whole = static_cast<std::size_t>((count() + kLanes<T> - 1) / kLanes<T> * kLanes<T>);
    weights.resize(whole);
    slopes.resize(whole);
    return s;
  }

  // dots[a] = factor * left(part) . row of position a.
  template <class Lefts>
  HWY_INLINE void dots(const Lefts& left, const HeadRows<const T>& rows, Index width, T factor, T* to) const {
    const hn::ScalableTag<T> d;
    if (parts.size() == 1) {
      const T* only = left(parts[0].s);
      for (Index first = 0; first < count(); first += kLanes<T>)
        dots_of_some([only](Index) { return only; }, rows, first, width, hn::Set(d, factor), to);
      return;
    }
    const T* lefts[kLanes<T>];
    std::fill(lefts, lefts + kLanes<T>, left(parts[0].s));
    for (const Part& part : parts) std::fill(lefts + part.begin, lefts + part.end, left(part.s));
    dots_of_some([&lefts](Index r) { return lefts[r]; }, rows, 0, width, hn::Set(d, factor), to);
  }

  // lse(span) is stored where `put` says. Backward makes the same bits again, rather than trust a large lse that has
  // been rounded.
  template <class Put>
  HWY_INLINE void weigh(const Arguments<T>& args, Index b, Index h, const Put& put) {
    dots([&](Index s) { return &args.q(b, h, s, 0); }, HeadRows<const T>(args.k, b, h), args.q.dim(3), args.scale,
         weights.data());
    if (count() > kLanes<T>)
      put(parts[0].s, weigh_long());
    else
      weigh_short(put);
  }
  void drop(const Arguments<T>& args, Index b, Index h, std::vector<T>& of) const {
    for (const Part& part : parts)
      for (std::size_t a = part.begin; a < part.end; ++a) of[a] *= args.factor(b, h, part.s, positions[a]);
  }
  Index count() const { return static_cast<Index>(positions.size()); }

 private:
  // Of positions first, first + 1, ...: as many as there are lanes; lanes that have none take the last one again.
  template <class Lefts>
  HWY_INLINE void dots_of_some(const Lefts& left, const HeadRows<const T>& rows, Index first, Index width,
                               hn::Vec<hn::ScalableTag<T>> factor, T* to) const {
    const hn::ScalableTag<T> d;
    const Index* some = positions.data() + first;
    const Index rest = std::min(kLanes<T>, count() - first);
    const T* from[kLanes<T>];
    for (Index r = 0; r < kLanes<T>; ++r) {
      const Index i = some[std::min(r, rest - 1)];
      rows.fetch_ahead(i, width);
      from[r] = rows[i];
    }
    hn::StoreU(hn::Mul(factor, DotsOfLanes(left, from, width)), d, to + first);
  }

  // One span of several vectors.
  T weigh_long() {
    const hn::ScalableTag<T> d;
    const Index whole = static_cast<Index>(weights.size());
    T* p = weights.data();
    std::fill(p + count(), p + whole, -std::numeric_limits<T>::infinity());
    const T shift = RowShift(d, p, whole), sum = ExponentialsOfRow(d, p, shift, whole, p);
    ScaleRow(d, 1 / sum, whole, p);
    return shift + std::log(sum);
  }

  // Spans that share a vector: one exponential for all. A span's bits do not depend on its neighbours.
  template <class Put>
  HWY_INLINE void weigh_short(const Put& put) {
    const hn::ScalableTag<T> d;
    HWY_ALIGN T shifts[kLanes<T>] = {}, factors[kLanes<T>] = {};
    T* p = weights.data();
    std::fill(p + count(), p + kLanes<T>, T(0));
    for (const Part& part : parts) {
      T top = -std::numeric_limits<T>::infinity();
      for (std::size_t a = part.begin; a < part.end; ++a) top = std::max(top, p[a]);
      std::fill(shifts + part.begin, shifts + part.end, top == -std::numeric_limits<T>::infinity() ? T(0) : top);
    }
    const auto log2_e = hn::Set(d, std::numbers::log2e_v<T>);
    hn::StoreU(Exp2(d, hn::Mul(hn::Sub(hn::LoadU(d, p), hn::Load(d, shifts)), log2_e)), d, p);
    for (const Part& part : parts) {
      if (part.begin == part.end) continue;
      T sum = 0;
      for (std::size_t a = part.begin; a < part.end; ++a) sum += p[a];
      std::fill(factors + part.begin, factors + part.end, 1 / sum);
      put(part.s, shifts[part.begin] + std::log(sum));
    }
    hn::StoreU(hn::Mul(hn::LoadU(d, p), hn::Load(d, factors)), d, p);
  }
};

// Spans from `first` on, as many as `span` takes at a time; returns the one behind.
template <class T>
Index ForwardSpans(const Arguments<T>& args, Index b, Index h, Index first, Index end, SpanWeights<T>& span,
                   View<T, 4> out, View<T, 3> lse) {
  const hn::ScalableTag<T> d;
  const Index next = span.find(args, b, first, end);
  for (Index s = first; s < next; ++s) lse(b, h, s) = -std::numeric_limits<T>::infinity();
  if (span.count() > 0) span.weigh(args, b, h, [&](Index s, T known) { lse(b, h, s) = known; });
  if (args.keep) span.drop(args, b, h, span.weights);
  const HeadRows<const T> v(args.v, b, h);
  for (const Index i : span.positions) v.fetch_ahead(i, out.dim(3));
  for (const auto& part : span.parts) {
    T* const to = &out(b, h, part.s, 0);
    ForPairs(d, out.dim(3), [&](Index c, auto strip) HWY_ATTR {
      constexpr Index kVectors = decltype(strip)::kVectors;
      hn::Vec<decltype(d)> sums[kVectors];
#pragma GCC unroll 2
      for (Index i = 0; i < kVectors; ++i) sums[i] = hn::Zero(d);
      for (std::size_t a = part.begin; a < part.end; ++a) {
        const auto weight = hn::Set(d, span.weights[a]);
        const T* row = v[span.positions[a]] + c;
#pragma GCC unroll 2
        for (Index i = 0; i < kVectors; ++i) sums[i] = hn::MulAdd(weight, strip.Load(row, i), sums[i]);
      }
#pragma GCC unroll 2
      for (Index i = 0; i < kVectors; ++i) strip.Store(sums[i], to + c, i);
    });
  }
  return next;
}

template <class T>
struct GradViews {
  View<const T, 4> dout, out;
  View<T, 4> dq, dk, dv;
};

// ds of every position from its dp, in place.
template <class T>
void Differentiate(const Arguments<T>& args, const GradViews<T>& views, Index b, Index h, SpanWeights<T>& span) {
  const hn::ScalableTag<T> d;
  std::vector<T>&p = span.weights, &ds = span.slopes;
  const Index value_width = args.v.dim(3);
  for (const auto& part : span.parts) {
    if (part.begin == part.end) continue;
    const T delta = DotRows(&views.dout(b, h, part.s, 0), &views.out(b, h, part.s, 0), value_width);
    ForVectors(d, static_cast<Index>(part.end - part.begin), [&](Index a, auto lanes) HWY_ATTR {
      const std::size_t at = part.begin + static_cast<std::size_t>(a);
      const auto slope = hn::Sub(lanes.Load(&ds[at]), hn::Set(d, delta));
      lanes.Store(hn::Mul(hn::Mul(hn::Set(d, args.scale), lanes.Load(&p[at])), slope), &ds[at]);
    });
  }
}

// What one span gives to its positions, added to what stands there or written, and to its query.
template <bool kAdd, class T>
void PutPart(const Arguments<T>& args, const GradViews<T>& views, Index b, Index h, const SpanWeights<T>& span,
             const typename SpanWeights<T>::Part& part) {
  const hn::ScalableTag<T> d;
  const HeadRows<const T> k(args.k, b, h);
  const HeadRows<T> dk(views.dk, b, h), dv(views.dv, b, h);
  const T *dout = &views.dout(b, h, part.s, 0), *q = &args.q(b, h, part.s, 0);
  const auto put = [&](const auto& strip, Index i, auto factor, auto row, T* to) HWY_ATTR {
    strip.Store(kAdd ? hn::MulAdd(factor, row, strip.Load(to, i)) : hn::Mul(factor, row), to, i);
  };
  ForPairs(d, args.v.dim(3), [&](Index c, auto strip) HWY_ATTR {
    constexpr Index kVectors = decltype(strip)::kVectors;
    hn::Vec<decltype(d)> up[kVectors];
#pragma GCC unroll 2
    for (Index i = 0; i < kVectors; ++i) up[i] = strip.Load(dout + c, i);
    for (std::size_t a = part.begin; a < part.end; ++a) {
      const auto weight = hn::Set(d, span.weights[a]);
#pragma GCC unroll 2
      for (Index i = 0; i < kVectors; ++i) put(strip, i, weight, up[i], dv[span.positions[a]] + c);
    }
  });
  T* dq = &views.dq(b, h, part.s, 0);
  ForPairs(d, args.q.dim(3), [&](Index c, auto strip) HWY_ATTR {
    constexpr Index kVectors = decltype(strip)::kVectors;
    hn::Vec<decltype(d)> query[kVectors], sums[kVectors];
#pragma GCC unroll 2
    for (Index i = 0; i < kVectors; ++i) {
      query[i] = strip.Load(q + c, i);
      sums[i] = hn::Zero(d);
    }
    for (std::size_t a = part.begin; a < part.end; ++a) {
      const auto slope = hn::Set(d, span.slopes[a]);
      const T* key = k[span.positions[a]] + c;
#pragma GCC unroll 2
      for (Index i = 0; i < kVectors; ++i) {
        sums[i] = hn::MulAdd(slope, strip.Load(key, i), sums[i]);
        put(strip, i, slope, query[i], dk[span.positions[a]] + c);
      }
    }
#pragma GCC unroll 2
    for (Index i = 0; i < kVectors; ++i) strip.Store(sums[i], dq + c, i);
  });
}

template <bool kAdd, class T>
Index BackwardSpans(const Arguments<T>& args, const GradViews<T>& views, Index b, Index h, Index first, Index end,
                    SpanWeights<T>& span) {
  const Index next = span.find(args, b, first, end), value_width = args.v.dim(3);
  if (span.count() > 0) {
    span.weigh(args, b, h, [](Index, T) {});
    span.dots([&](Index s) { return &views.dout(b, h, s, 0); }, HeadRows<const T>(args.v, b, h), value_width, T(1),
              span.slopes.data());
    if (args.keep) span.drop(args, b, h, span.slopes);
    Differentiate(args, views, b, h, span);
    if (args.keep) span.drop(args, b, h, span.weights);
  }
  const HeadRows<T> dk(views.dk, b, h), dv(views.dv, b, h);
  for (const Index i : span.positions) {
    dk.fetch_ahead(i, args.q.dim(3));
    dv.fetch_ahead(i, value_width);
  }
  for (const auto& part : span.parts) PutPart<kAdd>(args, views, b, h, span, part);
  return next;
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
    const Index end = std::min(count, begin + per_task);
    for (Index s = begin; s < end;) s = ForwardSpans(args, b, h, s, end, span, out, lse);
  });
}

using Run = std::pair<Index, Index>;  // spans that do not overlap, first ... second - 1

// Zeros for the positions that spans first ... end - 1 of a run leave out: padded ones, and those before each span;
// with the run's last span, all that follow.
template <class T>
void PutZeros(const Arguments<T>& args, const GradViews<T>& views, Index b, Index h, const Run& run, Index first,
              Index end) {
  const Index n = args.k.dim(2);
  const bool* real = args.real(b);
  const auto put = [&](Index from, Index to) {
    for (Index i = from; i < to; ++i) {
      std::fill_n(&views.dk(b, h, i, 0), args.q.dim(3), T(0));
      std::fill_n(&views.dv(b, h, i, 0), args.v.dim(3), T(0));
    }
  };
  Index done = first == run.first ? 0 : span_at(args.spans, b, first - 1, n).end;
  for (Index s = first; s < end; ++s) {
    const Span span = span_at(args.spans, b, s, n);
    put(done, span.begin);
    for (Index i = span.begin; real != nullptr && i < span.end; ++i)
      if (!real[i]) put(i, i + 1);
    done = span.end;
  }
  if (end == run.second) put(done, n);
}

// Spans first ... end - 1 of a run. With `adds` to what stands in dk and dv; else the run is to write all positions.
template <class T>
void BackwardRun(const Arguments<T>& args, const GradViews<T>& views, bool adds, Index b, Index h, const Run& run,
                 Index first, Index end) {
  SpanWeights<T> span;
  if (adds) {
    for (Index s = first; s < end;) s = BackwardSpans<true>(args, views, b, h, s, end, span);
  } else {
    PutZeros(args, views, b, h, run, first, end);
    for (Index s = first; s < end;) s = BackwardSpans<false>(args, views, b, h, s, end, span);
  }
}

// Heads side by side where each sample has spans of its own; else spans that do not overlap, one run of them after the
// other. The first run writes gradients unless they are to be added to.
template <class T>
void Backward(const Arguments<T>& args, const GradViews<T>& views, bool adds) {
  const Index batch = args.q.dim(0), heads = args.q.dim(1), per_task = SpansPerTask(args);
  const Index work = (3 * args.q.dim(3) + 2 * args.v.dim(3)) / 4;  // of a position
  const bool own_spans = args.spans.dim(0) != 1;
  if (own_spans) {
    parallel_for(batch * heads, args.k.dim(2) * work, [&](Index head) {
      const Index b = head / heads;
      bool adds_now = adds;
      for (const Run& run : disjoint_runs(args.spans, b)) {
        BackwardRun(args, views, adds_now, b, head % heads, run, run.first, run.second);
        adds_now = true;
      }
    });
    return;
  }
  const std::vector<Run> runs = disjoint_runs(args.spans, 0);
  for (Index b = 0; b < batch; ++b)  // a sample's rows stay in a cache from run to run
    for (const Run& run : runs) {
      const Index tasks = (run.second - run.first + per_task - 1) / per_task;
      parallel_for(heads * tasks, 256 * work, [&](Index task) {
        const Index begin = run.first + task / heads * per_task;
        BackwardRun(args, views, adds || run.first > 0, b, task % heads, run, begin,
                    std::min(run.second, begin + per_task));
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
                       const Tensor& out, const Mask& mask, const SpanAttentionOptions& options, bool adds,
                       SpanAttentionGrads& grads) {
  visit_float("span_attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    const GradViews<T> views = {dout.view<const T, 4>(), out.view<const T, 4>(), grads.dq.view<T, 4>(),
                                grads.dk.view<T, 4>(), grads.dv.view<T, 4>()};
    Backward<T>({q, k, v, spans, mask, options}, views, adds);
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
                              const SpanAttentionOptions& options, bool adds, SpanAttentionGrads& grads) {
  SUBQUAD_DISPATCH(SpanAttentionGrad)(dout, q, k, v, spans, out, mask, options, adds, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
