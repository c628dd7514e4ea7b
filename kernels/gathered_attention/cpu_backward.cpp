#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/gathered_attention/cpu_backward.cpp"
#include "subquad/kernels/gathered_attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/core/parallel.h"
#include "subquad/kernels/gathered_attention/row-inl.h"

// Two walks over the live slots: by queries for dq and dbias, by keys for dk and dv. Each makes p and ds of its slots
// anew, so that neither stands in memory.
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

// What forward left of a query, side by side: a key's queries lie anywhere, and so each costs one line of the cache.
template <class T>
struct QuerySums {
  T lse, lse_rest, delta, unused;
};

// One head: its rows, and the sums of each query.
template <class T>
struct GatheredHead {
  const GatheredBackward<T>& args;
  Slots slots;
  Index b, h, width, value_width;
  bool far;  // rows are worth prefetching
  HeadRows<const T> q, k, v, dout;
  const T* bias;
  T scale;
  Buffer<T> sums_memory;
  QuerySums<T>* sums;  // [Nq]

  GatheredHead(const GatheredBackward<T>& a, Index head)
      : args(a),
        slots(a.slots(head)),
        b(head / a.q.dim(1)),
        h(head % a.q.dim(1)),
        width(a.q.dim(3)),
        value_width(a.v.dim(3)),
        far(WorthPrefetching<T>(std::max(a.q.dim(2), a.k.dim(2)), width, value_width)),
        q(a.q, b, h),
        k(a.k, b, h),
        v(a.v, b, h),
        dout(a.dout, b, h),
        bias(a.bias == nullptr ? nullptr : a.bias + head * slots.queries * slots.count),
        scale(static_cast<T>(a.options.scale)),
        sums_memory(4 * slots.queries),
        sums(reinterpret_cast<QuerySums<T>*>(sums_memory.data())) {
    const HeadRows<const T> out(a.out, b, h);
    for (Index i = 0; i < slots.queries; ++i) {
      if (slots.skipped(i)) continue;
      T delta = RowDot(dout[i], out[i], value_width);
      if (a.dlse.defined()) delta -= a.dlse.template view<const T, 3>()(b, h, i);
      sums[i] = {a.lse(b, h, i), a.lse_rest(b, h, i), delta, 0};
    }
  }
};

// Up to kBlock live slots that share a query (its rows of q and dout) or a key (its rows of k and v); p and ds of all
// of them are worked out together from the other two rows of each.
template <class T>
class SlotBlock {
 public:
  SlotBlock(const GatheredHead<T>& head, const T* first, const T* second)
      : head_(head), first_(first), second_(second) {}

  bool full() const { return count_ == kBlock; }
  Index count() const { return count_; }
  Index slot(Index a) const { return slots_[a]; }
  const T* const* first_rows() const { return first_rows_; }
  const T* const* second_rows() const { return second_rows_; }
  const T* p() const { return p_; }
  const T* ds() const { return ds_; }
  void clear() { count_ = 0; }

  void add(const QuerySums<T>& sums, const T* first, const T* second, Index slot) {
    first_rows_[count_] = first;
    second_rows_[count_] = second;
    slots_[count_] = slot;
    lse_[count_] = sums.lse;
    rest_[count_] = sums.lse_rest;
    delta_[count_++] = sums.delta;
  }

  // p = exp(s - lse), which no forward result can make larger than 1, and ds = p (dp - delta). Lanes beyond the last
  // slot hold old numbers, whose results nobody reads.
  void differentiate() {
    const Vector<T> d;
    RowLogits(first_, first_rows_, count_, head_.width, head_.scale, p_);
    RowLogits(second_, second_rows_, count_, head_.value_width, T(1), ds_);
    for (Index a = 0; head_.bias != nullptr && a < count_; ++a) p_[a] += head_.bias[slots_[a]];
    for (Index a = 0; a < count_; a += kLanes<T>) {
      const auto log_p = hn::Sub(hn::Sub(hn::Load(d, p_ + a), hn::Load(d, lse_ + a)), hn::Load(d, rest_ + a));
      const auto log2_p = hn::Mul(log_p, Log2E(d));
      const auto p = Exp2(d, hn::IfThenZeroElse(hn::Gt(log2_p, hn::Zero(d)), log2_p));  // keeps a NaN
      hn::Store(p, d, p_ + a);
      hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, ds_ + a), hn::Load(d, delta_ + a))), d, ds_ + a);
    }
  }

 private:
  const GatheredHead<T>& head_;
  const T *first_, *second_;
  HWY_ALIGN T p_[kBlock] = {}, ds_[kBlock] = {}, lse_[kBlock] = {}, rest_[kBlock] = {}, delta_[kBlock] = {};
  const T *first_rows_[kBlock], *second_rows_[kBlock];
  Index slots_[kBlock];
  Index count_ = 0;
};

template <class T>
void Scale(T* row, Index width, T scale) {
  for (Index e = 0; e < width; ++e) row[e] *= scale;
}

template <class T>
void QueryGradient(const GatheredHead<T>& head, Index i, T* dbias) {
  T* dq = HeadRows<T>(head.args.dq, head.b, head.h)[i];
  std::fill_n(dq, head.width, T(0));
  if (dbias != nullptr) std::fill_n(dbias + i * head.slots.count, head.slots.count, T(0));
  if (head.slots.skipped(i)) return;
  SlotBlock<T> block(head, head.q[i], head.dout[i]);
  const auto flush = [&] {
    block.differentiate();
    AddWeightedSum(block.ds(), block.count(), block.first_rows(), head.width, dq);
    for (Index a = 0; dbias != nullptr && a < block.count(); ++a) dbias[block.slot(a)] = block.ds()[a];
    block.clear();
  };
  const bool prefetch = head.far && i + 1 < head.slots.queries && !head.slots.skipped(i + 1);
  for (Index t = 0; t < head.slots.count; ++t) {
    if (const Index next = prefetch ? head.slots.key(i + 1, t) : -1; next >= 0) {
      PrefetchRow(head.k[next], head.width);
      PrefetchRow(head.v[next], head.value_width);
    }
    const Index j = head.slots.key(i, t);
    if (j < 0) continue;
    block.add(head.sums[i], head.k[j], head.v[j], i * head.slots.count + t);
    if (block.full()) flush();
  }
  flush();
  Scale(dq, head.width, head.scale);
}

inline constexpr Index kSlotsAhead = 32;  // whose rows are asked for: some 0.4 us of work

template <class T>
void KeyGradient(const GatheredHead<T>& head, const SlotsByKey& by_key, Index j) {
  T* dk = HeadRows<T>(head.args.dk, head.b, head.h)[j];
  T* dv = HeadRows<T>(head.args.dv, head.b, head.h)[j];
  std::fill_n(dk, head.width, T(0));
  std::fill_n(dv, head.value_width, T(0));
  const Index* start = by_key.starts.data<Index>() + j;
  SlotBlock<T> block(head, head.k[j], head.v[j]);
  const auto flush = [&] {
    block.differentiate();
    AddWeightedSum(block.ds(), block.count(), block.first_rows(), head.width, dk);
    AddWeightedSum(block.p(), block.count(), block.second_rows(), head.value_width, dv);
    block.clear();
  };
  const Index* entries = by_key.entries.data<Index>();
  const Index entry_count = by_key.entries.size();
  for (Index entry = start[0]; entry < start[1]; ++entry) {
    if (head.far && entry + kSlotsAhead < entry_count) {  // of this key or of one of the next
      const Index next = by_key.query(entries[entry + kSlotsAhead]);
      PrefetchRow(head.q[next], head.width);
      PrefetchRow(head.dout[next], head.value_width);
      hwy::Prefetch(head.sums + next);
    }
    const Index i = by_key.query(entries[entry]);
    block.add(head.sums[i], head.q[i], head.dout[i], i * head.slots.count + by_key.slot(entries[entry]));
    if (block.full()) flush();
  }
  flush();
  Scale(dk, head.width, head.scale);
}

template <class T>
void GatheredGrad(const GatheredBackward<T>& args) {
  const Index queries = args.q.dim(2), keys = args.k.dim(2), slot_count = args.index.dim(3);
  const Index row_work = slot_count * (args.q.dim(3) + args.v.dim(3)) / 2 + 1;
  for_heads(args.q.dim(0) * args.q.dim(1), queries * row_work, [&](Index number) {
    const GatheredHead<T> head(args, number);
    T* dbias = args.dbias == nullptr ? nullptr : args.dbias + number * queries * slot_count;
    parallel_chunks(queries, kQueriesPerTask, row_work, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) QueryGradient(head, i, dbias);
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
