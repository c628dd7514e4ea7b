#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/gathered_attention/cpu_backward.cpp"
#include "subquad/kernels/gathered_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/core/parallel.h"
#include "subquad/kernels/gathered_attention/row-inl.h"

// Two walks over the live slots: by queries for dq and dbias, which leaves p and ds of each behind, and by keys for dk
// and dv, which reads them: 8 bytes of float32 where the products made again would cost two rows more.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct GatheredBackward {
  View<const T, 4> dout, q, k, v, out;
  View<const T, 3> lse, lse_rest;
  const Tensor& dlse;
  const Tensor& index;
  const T* bias;  // null = none
  const Mask& keys;
  const GatheredAttentionOptions& options;
  View<T, 4> dq, dk, dv;
  T* dbias;  // null = not wanted

  Slots slots(Index head) const { return {index, keys, k.dim(2), options, head}; }
};

// One head.
template <class T>
struct GatheredHead {
  const GatheredBackward<T>& args;
  Slots slots;
  Index b, h;
  HeadRows<T> q, k, v, dout;
  bool far_keys, far_queries;  // rows are worth prefetching
  const T* bias;
  T* dbias;
  T scale;
  Index row;       // live slots of a query, in whole vectors
  Buffer<T> p_ds;  // [Nq][row][2]: p and ds, side by side
  Buffer<T> deltas;

  GatheredHead(const GatheredBackward<T>& a, Index head)
      : args(a),
        slots(a.slots(head)),
        b(head / a.q.dim(1)),
        h(head % a.q.dim(1)),
        q(a.q, b, h, [&](Index i) { return !slots.skipped(i); }),
        k(a.k, b, h, [&](Index j) { return slots.is_real(j); }),
        v(a.v, b, h, [&](Index j) { return slots.is_real(j); }),
        dout(a.dout, b, h, [&](Index i) { return !slots.skipped(i); }),
        far_keys(WorthPrefetching(a.k.dim(2), k.rows(), v.rows())),
        far_queries(WorthPrefetching(a.q.dim(2), q.rows(), dout.rows())),
        bias(a.bias == nullptr ? nullptr : a.bias + head * slots.queries * slots.count),
        dbias(a.dbias == nullptr ? nullptr : a.dbias + head * slots.queries * slots.count),
        scale(static_cast<T>(a.options.scale)),
        row(WholeVectors<T>(slots.count)),
        p_ds(2 * slots.queries * row),
        deltas(slots.queries) {
    parallel_chunks(slots.queries, 512, args.v.dim(3), [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i)
        if (!slots.skipped(i)) deltas.data()[i] = delta(i);
    });
  }

 private:
  T delta(Index i) const {
    const T sum = RowDot(&args.dout(b, h, i, 0), &args.out(b, h, i, 0), args.v.dim(3));
    return args.dlse.defined() ? sum - args.dlse.template view<const T, 3>()(b, h, i) : sum;
  }
};

// The walk over queries.
template <class T>
class QueryGradients {
 public:
  explicit QueryGradients(const GatheredHead<T>& head)
      : head_(head), live_(head.slots.count), p_(head.row), ds_(head.row) {}

  void differentiate(Index i) {
    const Slots& slots = head_.slots;
    if (head_.far_keys) PrefetchKeys(slots, i + 1, head_.k.rows(), head_.v.rows());
    live_.find(slots, i);
    const Index count = live_.count();
    if (count > 0) weigh(i);
    WeightedSum<false>(ds_.data(), live_.keys(), count, head_.k.rows(), head_.args.q.dim(3), head_.scale,
                       &head_.args.dq(head_.b, head_.h, i, 0));
    if (head_.dbias == nullptr) return;
    T* dbias = head_.dbias + i * slots.count;
    std::fill_n(dbias, slots.count, T(0));
    for (Index a = 0; a < count; ++a) dbias[live_.number(a)] = ds_.data()[a];
  }

 private:
  // p = exp(s - lse), which no forward result can make larger than 1, and ds = p (dp - delta).
  void weigh(Index i) {
    const Vector<T> d;
    const Index count = live_.count();
    T *p = p_.data(), *ds = ds_.data(), *kept = head_.p_ds.data() + 2 * i * head_.row;
    RowLogits(head_.q[i], head_.k.rows(), live_.keys(), count, head_.scale, p);
    RowLogits(head_.dout[i], head_.v.rows(), live_.keys(), count, T(1), ds);
    for (Index a = 0; head_.bias != nullptr && a < count; ++a)
      p[a] += head_.bias[i * head_.slots.count + live_.number(a)];
    const auto lse = hn::Set(d, head_.args.lse(head_.b, head_.h, i));
    const auto rest = hn::Set(d, head_.args.lse_rest(head_.b, head_.h, i));
    const auto delta = hn::Set(d, head_.deltas.data()[i]);
    for (Index a = 0; a < count; a += kLanes<T>) {
      const auto log2_p = hn::Mul(hn::Sub(hn::Sub(hn::Load(d, p + a), lse), rest), Log2E(d));
      const auto weight = Exp2(d, hn::IfThenZeroElse(hn::Gt(log2_p, hn::Zero(d)), log2_p));  // keeps a NaN
      const auto gradient = hn::Mul(weight, hn::Sub(hn::Load(d, ds + a), delta));
      hn::Store(gradient, d, ds + a);
      hn::StoreInterleaved2(weight, gradient, d, kept + 2 * a);
    }
  }

  const GatheredHead<T>& head_;
  LiveSlots<T> live_;
  Buffer<T> p_, ds_;
};

// The walk over keys: dk and dv of one.
template <class T>
void KeyGradient(const GatheredHead<T>& head, const SlotsByKey& by_key, Index j) {
  constexpr Index kSlotsAhead = 32;  // whose rows are asked for
  const GatheredBackward<T>& args = head.args;
  T *dk = &args.dk(head.b, head.h, j, 0), *dv = &args.dv(head.b, head.h, j, 0);
  std::fill_n(dk, args.k.dim(3), T(0));
  std::fill_n(dv, args.v.dim(3), T(0));
  const Index* start = by_key.starts.data<Index>() + j;
  const Index* entries = by_key.entries.data<Index>();
  const Index entry_count = by_key.entries.size();
  const auto p_ds_of = [&](Index entry) {
    return head.p_ds.data() + 2 * (by_key.query(entry) * head.row + by_key.live_slot(entry));
  };
  HWY_ALIGN T p[kBlock], ds[kBlock];
  Index query[kBlock];
  for (Index first = start[0]; first < start[1]; first += kBlock) {
    const Index count = std::min(kBlock, start[1] - first);
    for (Index a = 0; a < count; ++a) {
      if (head.far_queries && first + a + kSlotsAhead < entry_count) {  // of this key or of one of the next
        const Index ahead = entries[first + a + kSlotsAhead];
        PrefetchRow(head.q.rows(), by_key.query(ahead));
        PrefetchRow(head.dout.rows(), by_key.query(ahead));
        hwy::Prefetch(p_ds_of(ahead));
      }
      query[a] = by_key.query(entries[first + a]);
      p[a] = p_ds_of(entries[first + a])[0];
      ds[a] = p_ds_of(entries[first + a])[1];
    }
    WeightedSum<true>(ds, query, count, head.q.rows(), args.k.dim(3), head.scale, dk);
    WeightedSum<true>(p, query, count, head.dout.rows(), args.v.dim(3), T(1), dv);
  }
}

template <class T>
void GatheredGrad(const GatheredBackward<T>& args) {
  const Index queries = args.q.dim(2), keys = args.k.dim(2), slot_count = args.index.dim(3);
  const Index row_work = slot_count * (args.q.dim(3) + args.v.dim(3)) / 2 + 1;
  for_heads(args.q.dim(0) * args.q.dim(1), queries * row_work, [&](Index number) {
    const GatheredHead<T> head(args, number);
    parallel_chunks(queries, kQueriesPerTask, row_work, [&](Index begin, Index end) {
      QueryGradients<T> some(head);
      for (Index i = begin; i < end; ++i) some.differentiate(i);
    });
    const SlotsByKey by_key(head.slots, keys);
    parallel_chunks(keys, kQueriesPerTask, row_work, [&](Index begin, Index end) {
      for (Index j = begin; j < end; ++j) KeyGradient(head, by_key, j);
    });
  });
}

}  // namespace

void GatheredAttentionGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                           const Tensor& index, const AttentionOutput& forward, const Tensor& bias, const Mask& keys,
                           const GatheredAttentionOptions& options, GatheredAttentionGrads& grads) {
  visit_float("gathered_attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    GatheredGrad<T>({dout.view<const T, 4>(), q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(),
                     forward.out.view<const T, 4>(), forward.lse.view<const T, 3>(),
                     forward.lse_rest.view<const T, 3>(), dlse, index, bias.defined() ? bias.data<T>() : nullptr, keys,
                     options, grads.dq.view<T, 4>(), grads.dk.view<T, 4>(), grads.dv.view<T, 4>(),
                     grads.dbias.defined() ? grads.dbias.data<T>() : nullptr});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(GatheredAttentionGrad);

void cpu::gathered_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                  const Tensor& v, const Tensor& index, const AttentionOutput& forward,
                                  const Tensor& bias, const Mask& keys, const GatheredAttentionOptions& options,
                                  GatheredAttentionGrads& grads) {
  SUBQUAD_DISPATCH(GatheredAttentionGrad)(dout, dlse, q, k, v, index, forward, bias, keys, options, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
