#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/attention/cpu_backward.cpp"
#include "subquad/kernels/attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>
#include <numbers>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/online-inl.h"

// Lanes are keys. Per strip, and for 64 queries at a time (names as in attention.h; Q and dO are packed rows, Q
// scaled; K as lanes and as rows):
//
//   p  [64][lanes] = e^(Q Kt - lse - lse_rest)
//   ds [64][lanes] = p (dO Vt - delta)
//   dv [Ev][lanes] += dOt p     dk [E][lanes] += Qt ds     dq [64][E] += ds K
//
// Forward has the same products q scale, and sums them in the same order e = 0, 1, ..., so the logits are its logits,
// bit for bit.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
struct GradArguments {
  View<const T, 4> dout, q, k, v, out;
  View<const T, 3> lse, lse_rest;
  const Tensor& dlse;
  const Mask& mask;
  const AttentionOptions& options;
  View<T, 4> dq, dk, dv;

  // Rows of dq that are being summed are whole vectors.
  Index padded_width() const { return WholeVectors<T>(q.dim(3)); }
  Seen seen_by(Index b) const { return seen(mask, b, q.dim(2), k.dim(2), options); }
};

// A head's queries in the order of Seen::queries, and what backward needs to know of each.
template <class T>
struct Queries {
  Buffer<T> q;         // [n, E], scaled
  Buffer<T> dout;      // [n, Ev]
  Buffer<T> lse;       // [n]
  Buffer<T> lse_rest;  // [n], to base 2
  Buffer<T> delta;     // [n], sum(dout * out) - dlse

  Queries(const GradArguments<T>& args, const Seen& s, Index b, Index h)
      : q(PackRows(args.q, b, h, s.queries, static_cast<T>(args.options.scale))),
        dout(PackRows(args.dout, b, h, s.queries)),
        lse(static_cast<Index>(s.queries.size())),
        lse_rest(lse.size()),
        delta(lse.size()) {
    for (Index a = 0; a < lse.size(); ++a) {
      const Index i = s.queries[static_cast<std::size_t>(a)];
      lse.data()[a] = args.lse(b, h, i);
      lse_rest.data()[a] = args.lse_rest(b, h, i) * std::numbers::log2e_v<T>;
      const T* out = &args.out(b, h, i, 0);
      FetchAhead(out, kRowsAhead * args.out.stride(2), args.out.dim(3));
      delta.data()[a] = Dot(&args.dout(b, h, i, 0), out, args.out.dim(3));
      if (args.dlse.defined()) delta.data()[a] -= args.dlse.template view<const T, 3>()(b, h, i);
    }
  }
};

// Lane l is key number first + l; where the query of a row does not see it, the logit becomes -inf.
template <class T>
HWY_INLINE void HideLanes(T* block, Index count, Index first, const Index* limits) {
  const Vector<T> d;
  const auto hidden = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index i = 0; i < count; ++i) {
    const auto limit = hn::Set(d, static_cast<T>(std::min(limits[i] - first, kStrip<T>)));
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
      T* logit = block + i * kStrip<T> + lane;
      const auto sees = hn::Lt(hn::Iota(d, static_cast<T>(lane)), limit);
      hn::Store(hn::IfThenElse(sees, hn::Load(d, logit), hidden), d, logit);
    }
  }
}

// dk and dv of the keys number [begin, end) of one head, and their share of its dq, added to dq_part [n, padded width].
template <class T>
void ManyQueries(const GradArguments<T>& args, const Seen& s, Index b, Index h, Index begin, Index end, T* dq_part) {
  const Vector<T> d;
  const Index width = args.q.dim(3), value_width = args.v.dim(3), padded_width = args.padded_width();
  const T scale = static_cast<T>(args.options.scale);
  const Queries<T> queries(args, s, b, h);
  const Index query_count = queries.lse.size();
  Buffer<T> k_strip(width * kStrip<T>), dk_strip(width * kStrip<T>), k_rows(kStrip<T> * padded_width);
  Buffer<T> v_strip(value_width * kStrip<T>), dv_strip(value_width * kStrip<T>), spare(std::max(width, value_width));
  HWY_ALIGN T p_block[kBlock * kStrip<T>], ds_block[kBlock * kStrip<T>], ones[kStrip<T>];
  std::fill_n(ones, kStrip<T>, T(1));
  const Panel<T> p{p_block, kStrip<T>}, ds{ds_block, kStrip<T>};

  for (Index first = begin; first < end; first += kStrip<T>) {
    const Index keys = std::min(kStrip<T>, end - first);
    const auto positions = s.keys.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(keys));
    spare.zero();
    const StripRows<const T> k(args.k, b, h, positions, spare.data()), v(args.v, b, h, positions, spare.data());
    LoadStrip(k, width, T(1), k_strip.data());
    LoadStrip(v, value_width, T(1), v_strip.data());
    LoadPaddedRows(k, keys, width, scale, padded_width, k_rows.data());
    dk_strip.zero();
    dv_strip.zero();

    Index i = std::upper_bound(s.limits.begin(), s.limits.end(), first) - s.limits.begin();
    for (; i < query_count; i += kBlock) {
      const Index rows = std::min(kBlock, query_count - i);
      const T *q = queries.q.data() + i * width, *dout = queries.dout.data() + i * value_width;
      const Index* limits = s.limits.data() + i;
      Product<2, false>(d, rows, Left<T>{q, width, 1}, Panel<const T>{k_strip.data(), kStrip<T>}, width, p);
      if (limits[0] < first + kStrip<T>) HideLanes(p_block, rows, first, limits);
      Product<2, false>(d, rows, Left<T>{dout, value_width, 1}, Panel<const T>{v_strip.data(), kStrip<T>}, value_width,
                        ds);
      Differentiate(p_block, ds_block, rows, queries.lse.data() + i, queries.lse_rest.data() + i,
                    queries.delta.data() + i);
      Product<2, true>(d, value_width, Left<T>{dout, 1, value_width}, Panel<const T>{p_block, kStrip<T>}, rows,
                       Panel<T>{dv_strip.data(), kStrip<T>});
      Product<2, true>(d, width, Left<T>{q, 1, width}, Panel<const T>{ds_block, kStrip<T>}, rows,
                       Panel<T>{dk_strip.data(), kStrip<T>});
      AddWeightedRows(ds_block, rows, keys, k_rows.data(), padded_width, dq_part + i * padded_width);
    }
    StoreStrip(dk_strip.data(), ones, width, StripRows<T>(args.dk, b, h, positions, spare.data()));
    StoreStrip(dv_strip.data(), ones, value_width, StripRows<T>(args.dv, b, h, positions, spare.data()));
  }
}

// What backward needs to know of a strip of queries, lane by lane; lanes without a query have p = 0.
template <class T>
struct QueryLanes {
  HWY_ALIGN T lse[kStrip<T>], rest[kStrip<T>], delta[kStrip<T>], limits[kStrip<T>];

  QueryLanes(const Seen& s, const Queries<T>& queries, Index first, Index count) {
    std::fill_n(lse, kStrip<T>, std::numeric_limits<T>::max());
    std::fill_n(rest, kStrip<T>, T(0));
    std::fill_n(delta, kStrip<T>, T(0));
    std::copy_n(queries.lse.data() + first, count, lse);
    std::copy_n(queries.lse_rest.data() + first, count, rest);
    std::copy_n(queries.delta.data() + first, count, delta);
    for (Index lane = 0; lane < kStrip<T>; ++lane)
      limits[lane] = static_cast<T>(s.limits[static_cast<std::size_t>(first + std::min(lane, count - 1))]);
  }
};

// The same where queries are few, with queries as lanes, so that nothing is turned over that is as long as the
// sequence:
//
//   p  [64][lanes] = e^(K Qt - lse - lse_rest)     ds [64][lanes] = p (V dOt - delta)
//   dv [64][Ev] += p dO     dk [64][E] += ds Q     dqt [E][lanes] += Kt ds
template <class T>
void FewQueries(const GradArguments<T>& args, const Seen& s, Index b, Index h, Index begin, Index end, T* dq_part) {
  const Vector<T> d;
  const Index width = args.q.dim(3), value_width = args.v.dim(3), padded_width = args.padded_width();
  const Index padded_values = WholeVectors<T>(value_width), query_count = static_cast<Index>(s.queries.size());
  const Queries<T> queries(args, s, b, h);
  const auto keys = s.keys.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  const KeyRows<T> k(args.k, b, h, keys, false), v(args.v, b, h, keys, false);
  Buffer<T> dk(padded_width * (end - begin)), dv(padded_values * (end - begin)), spare(std::max(width, value_width));
  Buffer<T> q_strip(width * kStrip<T>), dq_strip(width * kStrip<T>), dout_strip(value_width * kStrip<T>);
  Buffer<T> q_rows(kStrip<T> * padded_width), dout_rows(kStrip<T> * padded_values);
  HWY_ALIGN T p_block[kBlock * kStrip<T>], ds_block[kBlock * kStrip<T>], scales[kStrip<T>];
  std::fill_n(scales, kStrip<T>, static_cast<T>(args.options.scale));
  const Panel<T> p{p_block, kStrip<T>}, ds{ds_block, kStrip<T>};
  dk.zero();
  dv.zero();

  for (Index first = 0; first < query_count; first += kStrip<T>) {
    const Index count = std::min(kStrip<T>, query_count - first);
    const auto positions = s.queries.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    spare.zero();
    const StripRows<const T> q(args.q, b, h, positions, spare.data()), dout(args.dout, b, h, positions, spare.data());
    LoadStrip(q, width, static_cast<T>(args.options.scale), q_strip.data());
    LoadStrip(dout, value_width, T(1), dout_strip.data());
    LoadPaddedRows(q, count, width, static_cast<T>(args.options.scale), padded_width, q_rows.data());
    LoadPaddedRows(dout, count, value_width, T(1), padded_values, dout_rows.data());
    dq_strip.zero();
    const QueryLanes<T> lanes(s, queries, first, count);
    const Index last = std::min(end, s.limits[static_cast<std::size_t>(first + count - 1)]);
    for (Index j = begin; j < last; j += kBlock) {
      const Index rows = std::min(kBlock, last - j), at = j - begin;
      Product<2, false>(d, rows, k.from(at), Panel<const T>{q_strip.data(), kStrip<T>}, width, p);
      if (lanes.limits[0] < static_cast<T>(j + rows)) HideKeys(p_block, j, rows, lanes.limits);
      Product<2, false>(d, rows, v.from(at), Panel<const T>{dout_strip.data(), kStrip<T>}, value_width, ds);
      DifferentiateLanes<2>(p_block, ds_block, rows, lanes.lse, lanes.rest, lanes.delta);
      AddWeightedRows(p_block, rows, count, dout_rows.data(), padded_values, dv.data() + at * padded_values);
      AddWeightedRows(ds_block, rows, count, q_rows.data(), padded_width, dk.data() + at * padded_width);
      Product<2, true>(d, width, k.turned_from(at), Panel<const T>{ds_block, kStrip<T>}, rows,
                       Panel<T>{dq_strip.data(), kStrip<T>});
    }
    StripRows<T> dq(spare.data());
    for (Index lane = 0; lane < count; ++lane) dq.row[lane] = dq_part + (first + lane) * padded_width;
    StoreStrip(dq_strip.data(), scales, width, dq);
  }
  for (Index a = 0; a < end - begin; ++a) {
    CopyRow(dk.data() + a * padded_width, width, &args.dk(b, h, keys[static_cast<std::size_t>(a)], 0));
    CopyRow(dv.data() + a * padded_values, value_width, &args.dv(b, h, keys[static_cast<std::size_t>(a)], 0));
  }
}

// A long sample's keys are cut into chunks, by its length alone; their shares of dq are added in order. So a head can
// occupy several threads and still gives the same bits.
Index ChunkCount(Index keys) {
  return std::clamp<Index>(keys / 1024, 1, 8);
}

// Chunk number `chunk` of one head: writes its dk and dv, returns its share of dq; an empty buffer when the sample has
// fewer chunks.
template <class T>
Buffer<T> ChunkTask(const GradArguments<T>& args, Index head, Index chunk) {
  const Index b = head / args.q.dim(1), h = head % args.q.dim(1);
  const Seen s = args.seen_by(b);
  const Index keys = static_cast<Index>(s.keys.size()), chunks = ChunkCount(keys);
  if (chunk == 0) {
    ZeroOthers(s.queries, args.dq, b, h);
    ZeroOthers(s.keys, args.dk, b, h);
    ZeroOthers(s.keys, args.dv, b, h);
  }
  if (chunk >= chunks) return Buffer<T>(0);
  const Index length = ((keys + chunks - 1) / chunks + kBlock - 1) / kBlock * kBlock;
  Buffer<T> dq_part(static_cast<Index>(s.queries.size()) * args.padded_width());
  dq_part.zero();
  const Index begin = std::min(keys, chunk * length), end = std::min(keys, begin + length);
  if (static_cast<Index>(s.queries.size()) <= kFewQueries && 2 * static_cast<Index>(s.queries.size()) <= keys)
    FewQueries(args, s, b, h, begin, end, dq_part.data());
  else
    ManyQueries(args, s, b, h, begin, end, dq_part.data());
  return dq_part;
}

template <class T>
void AddPart(const Buffer<T>& part, const Buffer<T>& sum) {
  for (Index i = 0; i < part.size(); ++i) sum.data()[i] += part.data()[i];
}

template <class T>
void StoreQueryGradient(const GradArguments<T>& args, Index head, const Buffer<T>& sum) {
  const Index b = head / args.q.dim(1), h = head % args.q.dim(1);
  const T* row = sum.data();
  for (const Index i : args.seen_by(b).queries) {
    CopyRow(row, args.q.dim(3), &args.dq(b, h, i, 0));
    row += args.padded_width();
  }
}

// Heads side by side where there are enough of them, else chunks; the bits are the same.
template <class T>
void Backward(const GradArguments<T>& args) {
  const Index heads = args.q.dim(0) * args.q.dim(1), chunks = ChunkCount(args.k.dim(2));
  const Index work = args.q.dim(2) * args.k.dim(2) * (3 * args.q.dim(3) + 2 * args.v.dim(3)) / 8;
  if (heads >= num_threads() || chunks == 1) {
    parallel_for(heads, work, [&](Index head) {
      const Buffer<T> sum = ChunkTask(args, head, 0);
      for (Index c = 1; c < chunks; ++c) AddPart(ChunkTask(args, head, c), sum);
      StoreQueryGradient(args, head, sum);
    });
    return;
  }
  std::vector<Buffer<T>> parts(static_cast<std::size_t>(heads * chunks), Buffer<T>(0));
  parallel_for(heads * chunks, work / chunks, [&](Index task) {
    parts[static_cast<std::size_t>(task)] = ChunkTask(args, task / chunks, task % chunks);
  });
  parallel_for(heads, args.q.dim(2) * args.q.dim(3) * chunks / 8, [&](Index head) {
    const Buffer<T>* part = &parts[static_cast<std::size_t>(head * chunks)];
    for (Index c = 1; c < chunks; ++c) AddPart(part[c], part[0]);
    StoreQueryGradient(args, head, part[0]);
  });
}

}  // namespace

void AttentionGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                   const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options,
                   AttentionGrads& grads) {
  visit_float("attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    Backward<T>({dout.view<const T, 4>(), q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(),
                 forward.out.view<const T, 4>(), forward.lse.view<const T, 3>(), forward.lse_rest.view<const T, 3>(),
                 dlse, keys, options, grads.dq.view<T, 4>(), grads.dk.view<T, 4>(), grads.dv.view<T, 4>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(AttentionGrad);

void cpu::attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                         const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options,
                         AttentionGrads& grads) {
  SUBQUAD_DISPATCH(AttentionGrad)(dout, dlse, q, k, v, forward, keys, options, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
