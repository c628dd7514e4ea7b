#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/gathered_attention/cpu_forward.cpp"
#include "subquad/kernels/gathered_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/gathered_attention/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct GatheredForward {
  View<const T, 4> q, k, v;
  const Tensor& index;
  const T* bias;  // null = none
  const Mask& keys;
  const GatheredAttentionOptions& options;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// weights [count], rounded up to whole vectors: logits to exponentials relative to the largest. Returns that and their
// sum.
template <class T>
std::pair<T, T> Exponentials(T* weights, Index count) {
  const Vector<T> d;
  constexpr T kNever = -std::numeric_limits<T>::infinity();
  while (count % kLanes<T> != 0) weights[count++] = kNever;
  auto tops = hn::Set(d, kNever), sums = hn::Zero(d);
  for (Index t = 0; t < count; t += kLanes<T>) tops = hn::Max(tops, hn::Load(d, weights + t));
  const auto top = hn::MaxOfLanes(d, tops);
  for (Index t = 0; t < count; t += kLanes<T>) {
    const auto p = Exp2(d, hn::Mul(hn::Sub(hn::Load(d, weights + t), top), Log2E(d)));
    hn::Store(p, d, weights + t);
    sums = hn::Add(sums, p);
  }
  return {hn::GetLane(top), SumLanes(d, sums)};
}

// One head.
template <class T>
struct GatheredHead {
  const GatheredForward<T>& args;
  Index b, h;
  Slots slots;
  HeadRows<T> q, k, v;
  bool far;  // rows of k and v are worth prefetching
  const T* bias;

  GatheredHead(const GatheredForward<T>& a, Index head)
      : args(a),
        b(head / a.q.dim(1)),
        h(head % a.q.dim(1)),
        slots(a.index, a.keys, a.k.dim(2), a.options, head),
        q(a.q, b, h, [&](Index i) { return !slots.skipped(i); }),
        k(a.k, b, h, [&](Index j) { return slots.is_real(j); }),
        v(a.v, b, h, [&](Index j) { return slots.is_real(j); }),
        far(WorthPrefetching(a.k.dim(2), k.rows(), v.rows())),
        bias(a.bias == nullptr ? nullptr : a.bias + head * slots.queries * slots.count) {}
};

// Some of its queries, one after the other.
template <class T>
class GatheredQueries {
 public:
  explicit GatheredQueries(const GatheredHead<T>& head)
      : head_(head), live_(head.slots.count), weights_(WholeVectors<T>(head.slots.count)) {}

  void attend(Index i) {
    const GatheredForward<T>& args = head_.args;
    if (head_.far) PrefetchKeys(head_.slots, i + 1, head_.k.rows(), head_.v.rows());
    live_.find(head_.slots, i);
    const Index count = live_.count();
    T *weights = weights_.data(), *out = &args.out(head_.b, head_.h, i, 0);
    if (count == 0) {
      std::fill_n(out, args.v.dim(3), T(0));
      return store_lse(i, -std::numeric_limits<T>::infinity(), 0);
    }
    RowLogits(head_.q[i], head_.k.rows(), live_.keys(), count, static_cast<T>(args.options.scale), weights);
    for (Index a = 0; head_.bias != nullptr && a < count; ++a)
      weights[a] += head_.bias[i * head_.slots.count + live_.number(a)];
    const auto [top, sum] = Exponentials(weights, count);
    WeightedSum<false>(weights, live_.keys(), count, head_.v.rows(), args.v.dim(3), 1 / sum, out);
    const double highest = static_cast<double>(top), rest = std::log(static_cast<double>(sum));
    const T lse = static_cast<T>(highest + rest);
    store_lse(i, lse, static_cast<T>(highest - static_cast<double>(lse) + rest));
  }

 private:
  void store_lse(Index i, T lse, T rest) const {
    head_.args.lse(head_.b, head_.h, i) = lse;
    head_.args.lse_rest(head_.b, head_.h, i) = rest;
  }

  const GatheredHead<T>& head_;
  LiveSlots<T> live_;
  Buffer<T> weights_;
};

template <class T>
void Gathered(const GatheredForward<T>& args) {
  const Index queries = args.q.dim(2), slot_count = args.index.dim(3);
  const Index row_work = slot_count * (args.q.dim(3) + args.v.dim(3)) / 8 + 1;
  for_heads(args.q.dim(0) * args.q.dim(1), queries * row_work, [&](Index number) {
    const GatheredHead<T> head(args, number);
    parallel_chunks(queries, kQueriesPerTask, row_work, [&](Index begin, Index end) {
      GatheredQueries<T> some(head);
      for (Index i = begin; i < end; ++i) some.attend(i);
    });
  });
}

}  // namespace

void GatheredAttention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index, const Tensor& bias,
                       const Mask& keys, const GatheredAttentionOptions& options, AttentionOutput& result) {
  visit_float("gathered_attention", q.dtype(), [&]<class T>(Type<T>) {
    Gathered<T>({q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(), index,
                 bias.defined() ? bias.data<T>() : nullptr, keys, options, result.out.view<T, 4>(),
                 result.lse.view<T, 3>(), result.lse_rest.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(GatheredAttention);

void cpu::gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index, const Tensor& bias,
                             const Mask& keys, const GatheredAttentionOptions& options, AttentionOutput& result) {
  SUBQUAD_DISPATCH(GatheredAttention)(q, k, v, index, bias, keys, options, result);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
