#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/span_pool/cpu.cpp"
#include "subquad/kernels/span_pool/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/exp2-inl.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/spans/spans.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// One span: its real positions, as rows of x.
template <class T>
struct SpanRows {
  std::vector<Index> positions;
  View<const T, 3> x;
  const Tensor& spans;
  const Mask& mask;

  SpanRows(View<const T, 3> rows, const Tensor& table, const Mask& real) : x(rows), spans(table), mask(real) {}

  void find(Index b, Index s) {
    positions.clear();
    const Span span = span_at(spans, b, s, x.dim(1));
    const bool* real = mask.defined() ? mask.real.data<bool>() + b * x.dim(1) : nullptr;
    for (Index i = span.begin; i < span.end; ++i)
      if (real == nullptr || real[i]) positions.push_back(i);
  }
};

template <class T>
void MaxOfSpan(const SpanRows<T>& span, Index b, T* out, T* places, Index* arg) {
  const hn::ScalableTag<T> d;
  const Index width = span.x.dim(2);
  ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR {
    constexpr Index kVectors = decltype(strip)::kVectors;
    hn::Vec<decltype(d)> best[kVectors], where[kVectors];  // in span.positions; a float holds them exactly up to 2^24
#pragma GCC unroll 4
    for (Index i = 0; i < kVectors; ++i) {
      best[i] = strip.Load(&span.x(b, span.positions[0], c), i);
      where[i] = hn::Zero(d);
    }
    for (std::size_t place = 1; place < span.positions.size(); ++place) {
      const T* row = &span.x(b, span.positions[place], c);
      const auto here = hn::Set(d, static_cast<T>(place));
#pragma GCC unroll 4
      for (Index i = 0; i < kVectors; ++i) {
        const auto value = strip.Load(row, i);
        const auto better = hn::Gt(value, best[i]);
        best[i] = hn::IfThenElse(better, value, best[i]);
        where[i] = hn::IfThenElse(better, here, where[i]);
      }
    }
#pragma GCC unroll 4
    for (Index i = 0; i < kVectors; ++i) {
      strip.Store(best[i], out + c, i);
      strip.Store(where[i], places + c, i);
    }
  });
  for (Index c = 0; c < width; ++c) arg[c] = span.positions[static_cast<std::size_t>(places[c])];
}

template <class T>
void SumOfSpan(const SpanRows<T>& span, Index b, T factor, T* out) {
  const hn::ScalableTag<T> d;
  const Index width = span.x.dim(2);
  std::fill_n(out, width, T(0));
  for (const Index i : span.positions) {
    const T* row = &span.x(b, i, 0);
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Add(lanes.Load(out + c), lanes.Load(row + c)), out + c);
    });
  }
  for (Index c = 0; c < width; ++c) out[c] *= factor;
}

// e^(x - shift)
template <class T>
HWY_INLINE hn::Vec<hn::ScalableTag<T>> ExpOfDifference(hn::Vec<hn::ScalableTag<T>> x,
                                                       hn::Vec<hn::ScalableTag<T>> shift) {
  const hn::ScalableTag<T> d;
  return Exp2(d, hn::Mul(hn::Sub(x, shift), hn::Set(d, std::numbers::log2e_v<T>)));
}

template <class T>
void LogSumExpOfSpan(const SpanRows<T>& span, Index b, T* out, T* sums, Index* arg) {
  const hn::ScalableTag<T> d;
  const Index width = span.x.dim(2);
  MaxOfSpan(span, b, out, sums, arg);
  std::fill_n(sums, width, T(0));
  for (const Index i : span.positions) {
    const T* row = &span.x(b, i, 0);
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Add(lanes.Load(sums + c), ExpOfDifference<T>(lanes.Load(row + c), lanes.Load(out + c))),
                  sums + c);
    });
  }
  for (Index c = 0; c < width; ++c)
    if (!std::isinf(out[c])) out[c] += std::log(sums[c]);  // an infinite maximum is the result: no inf - inf
}

// Spans of a task: some 1024 positions of them.
Index SpansPerTask(Index spans, Index positions) {
  return std::max<Index>(1, 1024 * spans / std::max<Index>(1, positions));
}

template <class T>
void Pool(View<const T, 3> x, const Tensor& spans, SpanPool pool, const Mask& mask, View<T, 3> out, Index* args) {
  const Index count = spans.dim(1), width = x.dim(2), per_task = SpansPerTask(count, x.dim(1));
  const Index tasks = (count + per_task - 1) / per_task;
  parallel_for(x.dim(0) * tasks, 1024 * width / 4, [&](Index task) {
    const Index b = task / tasks, begin = task % tasks * per_task;
    SpanRows<T> span(x, spans, mask);
    std::vector<T> scratch(static_cast<std::size_t>(width));
    std::vector<Index> places(static_cast<std::size_t>(width));
    for (Index s = begin; s < std::min(count, begin + per_task); ++s) {
      T* to = out.data() + (b * count + s) * width;
      Index* arg = args == nullptr ? places.data() : args + (b * count + s) * width;
      span.find(b, s);
      if (span.positions.empty()) {
        std::fill_n(to, width, pool == SpanPool::log_sum_exp ? -std::numeric_limits<T>::infinity() : T(0));
        std::fill_n(arg, width, -1);
      } else if (pool == SpanPool::max) {
        MaxOfSpan(span, b, to, scratch.data(), arg);
      } else if (pool == SpanPool::log_sum_exp) {
        LogSumExpOfSpan(span, b, to, scratch.data(), arg);
      } else {
        SumOfSpan(span, b, pool == SpanPool::sum ? T(1) : 1 / static_cast<T>(span.positions.size()), to);
      }
    }
  });
}

template <class T>
struct GradArguments {
  const T *dout, *out;  // [B, S, C]
  const Index* arg;     // [B, S, C]; max alone
  View<const T, 3> x;
  const Tensor& spans;
  SpanPool pool;
  const Mask& mask;
  View<T, 3> dx;
};

template <class T>
void AddSpanGrad(const GradArguments<T>& args, const SpanRows<T>& span, Index b, Index s) {
  const hn::ScalableTag<T> d;
  const Index width = args.x.dim(2), at = (b * args.spans.dim(1) + s) * width;
  const T *dout = args.dout + at, *out = args.out + at;
  if (args.pool == SpanPool::max) {
    for (Index c = 0; c < width; ++c) args.dx(b, args.arg[at + c], c) += dout[c];
    return;
  }
  const auto factor = hn::Set(d, args.pool == SpanPool::mean ? 1 / static_cast<T>(span.positions.size()) : T(1));
  for (const Index i : span.positions) {
    const T* row = &args.x(b, i, 0);
    T* to = &args.dx(b, i, 0);
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      const auto before = lanes.Load(to + c), up = lanes.Load(dout + c);
      if (args.pool == SpanPool::log_sum_exp) {
        const auto result = lanes.Load(out + c);
        const auto added = hn::MulAdd(up, ExpOfDifference<T>(lanes.Load(row + c), result), before);
        lanes.Store(hn::IfThenElse(hn::IsInf(result), before, added), to + c);
      } else {
        lanes.Store(hn::MulAdd(up, factor, before), to + c);
      }
    });
  }
}

template <class T>
void AddSpanGrads(const GradArguments<T>& args, Index b, Index begin, Index end) {
  SpanRows<T> span(args.x, args.spans, args.mask);
  for (Index s = begin; s < end; ++s) {
    span.find(b, s);
    if (!span.positions.empty()) AddSpanGrad(args, span, b, s);
  }
}

// Samples side by side where each has spans of its own; else spans that do not overlap, one run of them after the
// other.
template <class T>
void PoolGrad(const GradArguments<T>& args) {
  const Index batch = args.x.dim(0), count = args.spans.dim(1), per_task = SpansPerTask(count, args.x.dim(1));
  if (args.spans.dim(0) != 1) {
    parallel_for(batch, args.x.dim(1) * args.x.dim(2), [&](Index b) { AddSpanGrads(args, b, 0, count); });
    return;
  }
  for (const auto& run : disjoint_runs(args.spans, 0)) {
    const Index tasks = (run.second - run.first + per_task - 1) / per_task;
    parallel_for(batch * tasks, 1024 * args.x.dim(2) / 4, [&](Index task) {
      const Index begin = run.first + task % tasks * per_task;
      AddSpanGrads(args, task / tasks, begin, std::min(run.second, begin + per_task));
    });
  }
}

}  // namespace

void PoolSpans(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask, SpanPooled& result) {
  if (result.out.size() == 0) return;
  visit_float("span_pool", x.dtype(), [&]<class T>(Type<T>) {
    Pool<T>(x.view<const T, 3>(), spans, pool, mask, result.out.view<T, 3>(),
            result.arg.defined() ? result.arg.data<Index>() : nullptr);
  });
}

void PoolSpansGrad(const Tensor& dout, const Tensor& x, const Tensor& spans, SpanPool pool, const SpanPooled& forward,
                   const Mask& mask, Tensor& dx) {
  if (dout.size() == 0) return;
  visit_float("span_pool_grad", x.dtype(), [&]<class T>(Type<T>) {
    PoolGrad<T>({dout.data<T>(), forward.out.data<T>(), pool == SpanPool::max ? forward.arg.data<Index>() : nullptr,
                 x.view<const T, 3>(), spans, pool, mask, dx.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(PoolSpans);
HWY_EXPORT(PoolSpansGrad);

void cpu::span_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask, SpanPooled& result) {
  SUBQUAD_DISPATCH(PoolSpans)(x, spans, pool, mask, result);
}

void cpu::span_pool_grad(const Tensor& dout, const Tensor& x, const Tensor& spans, SpanPool pool,
                         const SpanPooled& forward, const Mask& mask, Tensor& dx) {
  SUBQUAD_DISPATCH(PoolSpansGrad)(dout, x, spans, pool, forward, mask, dx);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
