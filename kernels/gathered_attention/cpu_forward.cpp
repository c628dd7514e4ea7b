#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/gathered_attention/cpu_forward.cpp"
#include "subquad/kernels/gathered_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <vector>

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

// The live slots of one query, in whole vectors.
template <class T>
struct LiveSlots {
  std::vector<const T*> k, v;
  std::vector<Index> slot;
  Buffer<T> weights;

  explicit LiveSlots(Index slots)
      : k(static_cast<std::size_t>(slots + kLanes<T>)), v(k.size()), slot(k.size()), weights(slots + kLanes<T>) {}
};

template <class T>
void GatheredQuery(const GatheredForward<T>& args, const Slots& slots, Index head, Index i, LiveSlots<T>& live) {
  const Index b = head / args.q.dim(1), h = head % args.q.dim(1), width = args.q.dim(3), value_width = args.v.dim(3);
  const HeadRows<const T> q(args.q, b, h), k(args.k, b, h), v(args.v, b, h);
  T* out = HeadRows<T>(args.out, b, h)[i];
  std::size_t found = 0;
  const bool prefetch =
      WorthPrefetching<T>(args.k.dim(2), width, value_width) && i + 1 < slots.queries && !slots.skipped(i + 1);
  const Index seen = slots.skipped(i) ? 0 : slots.count;
  for (Index t = 0; t < seen; ++t) {
    if (const Index next = prefetch ? slots.key(i + 1, t) : -1; next >= 0) {
      PrefetchRow(k[next], width);
      PrefetchRow(v[next], value_width);
    }
    const Index j = slots.key(i, t);
    if (j < 0) continue;
    live.k[found] = k[j];
    live.v[found] = v[j];
    live.slot[found++] = t;
  }
  std::fill_n(out, value_width, T(0));
  if (found == 0) {
    args.lse(b, h, i) = -std::numeric_limits<T>::infinity();
    args.lse_rest(b, h, i) = 0;
    return;
  }
  const auto count = static_cast<Index>(found);
  T* weights = live.weights.data();
  RowLogits(q[i], live.k.data(), count, width, static_cast<T>(args.options.scale), weights);
  if (args.bias != nullptr) {
    const T* bias = args.bias + (head * slots.queries + i) * slots.count;
    for (std::size_t a = 0; a < found; ++a) weights[a] += bias[live.slot[a]];
  }
  const auto [top, sum] = Exponentials(weights, count);
  for (Index t = 0; t < count; ++t) weights[t] /= sum;
  AddWeightedSum(weights, count, live.v.data(), value_width, out);
  const double highest = static_cast<double>(top), rest = std::log(static_cast<double>(sum));
  const T lse = static_cast<T>(highest + rest);
  args.lse(b, h, i) = lse;
  args.lse_rest(b, h, i) = static_cast<T>(highest - static_cast<double>(lse) + rest);
}

template <class T>
void Gathered(const GatheredForward<T>& args) {
  const Index heads = args.q.dim(0) * args.q.dim(1), queries = args.q.dim(2), slot_count = args.index.dim(3);
  const Index tasks = (queries + kQueriesPerTask - 1) / kQueriesPerTask;
  const Index work = kQueriesPerTask * (slot_count * (args.q.dim(3) + args.v.dim(3)) / 8 + 1);
  parallel_for(heads * tasks, work, [&](Index task) {
    const Index head = task / tasks, begin = task % tasks * kQueriesPerTask;
    const Slots slots(args.index, args.keys, args.k.dim(2), args.options, head);
    LiveSlots<T> live(slot_count);
    for (Index i = begin; i < std::min(queries, begin + kQueriesPerTask); ++i)
      GatheredQuery(args, slots, head, i, live);
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
