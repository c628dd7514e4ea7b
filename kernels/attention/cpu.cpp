#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/attention/cpu.cpp"
#include "subquad/kernels/attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/seen.h"
#include "subquad/kernels/simd/exp2-inl.h"
#include "subquad/kernels/simd/tile-inl.h"

// Everything is a product of a strip of two vectors (2 L lanes) with rows that are read one number at a time; sums,
// maxima and rescaling go down the lanes, so nothing is ever added across them.
//
//   forward    lanes are queries. Per strip: logits [64 keys][2 L] = K Qt, weights in place, out [Ev][2 L] += Vt
//   weights. backward   lanes are keys. Per strip: logits and dP [64 queries][2 L], weights P and dS in place, then
//              dVt [Ev][2 L] += dOt P, dKt [E][2 L] += Qt dS and dQ [64][E] += dS K.
//
// Blocks of a strip (8 KiB per array in float32) stay in L1; the head's packed rows stream from L2.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

inline constexpr Index kBlock = 64;         // rows per block of a strip
inline constexpr Index kQueryRange = 512;   // queries per forward task: packing its keys costs 1/256 of its work
inline constexpr Index kKeyChunk = 1024;    // keys per backward task, where a head is cut at all ...
inline constexpr Index kMostKeyChunks = 8;  // ... into at most so many

template <class T>
using Strip = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Strip<T>()));
template <class T>
inline constexpr Index kStrip = 2 * kLanes<T>;

template <class T>
Tensor Buffer(Index rows, Index width) {
  return empty({rows, width}, dtype_of<T>(), kCpu);
}

// packed[a] = x[b, h, positions[a], :]
template <class T>
Tensor PackRows(View<const T, 4> x, Index b, Index h, std::span<const Index> positions) {
  const Index width = x.dim(3);
  Tensor packed = Buffer<T>(static_cast<Index>(positions.size()), width);
  T* to = packed.data<T>();
  for (const Index i : positions) to = std::copy_n(&x(b, h, i, 0), width, to);
  return packed;
}

// strip[e][lane] = scale * x[b, h, positions[lane], e]; lanes without a position hold 0.
template <class T>
void LoadStrip(View<const T, 4> x, Index b, Index h, std::span<const Index> positions, T scale, T* strip) {
  std::fill_n(strip, x.dim(3) * kStrip<T>, T(0));
  for (std::size_t lane = 0; lane < positions.size(); ++lane) {
    const T* row = &x(b, h, positions[lane], 0);
    for (Index e = 0; e < x.dim(3); ++e) strip[e * kStrip<T> + static_cast<Index>(lane)] = scale * row[e];
  }
}

// x[b, h, positions[lane], e] = scale(lane) * strip[e][lane]
template <class T, class Scale>
void StoreStrip(const T* strip, const Scale& scale, View<T, 4> x, Index b, Index h, std::span<const Index> positions) {
  for (std::size_t lane = 0; lane < positions.size(); ++lane) {
    T* row = &x(b, h, positions[lane], 0);
    for (Index e = 0; e < x.dim(3); ++e) row[e] = scale(lane) * strip[e * kStrip<T> + static_cast<Index>(lane)];
  }
}

// f(i) for every position i < count that `kept` (rising) leaves out.
template <class F>
void ForOthers(std::span<const Index> kept, Index count, F&& f) {
  auto next = kept.begin();
  for (Index i = 0; i < count; ++i) {
    if (next != kept.end() && *next == i)
      ++next;
    else
      f(i);
  }
}

template <class T>
void ZeroOthers(std::span<const Index> kept, View<T, 4> x, Index b, Index h) {
  ForOthers(kept, x.dim(2), [&](Index i) { std::fill_n(&x(b, h, i, 0), x.dim(3), T(0)); });
}

// ---- forward

// Online softmax of a strip of queries: what is summed so far is relative to the running maximum of each lane.
template <class T>
struct Online {
  hn::Vec<Strip<T>> top[2];
  hn::Vec<Strip<T>> sum[2];
};

// Logits to weights relative to the new maximum; `out` and the sums follow it down.
template <class T>
HWY_INLINE void Weigh(T* block, Index count, Online<T>& online, T* out, Index value_width) {
  const Strip<T> d;
  for (Index v = 0; v < 2; ++v) {
    T* column = block + v * kLanes<T>;
    auto top = online.top[v];
    for (Index j = 0; j < count; ++j) top = hn::Max(top, hn::Load(d, column + j * kStrip<T>));
    if (!hn::AllTrue(d, hn::Eq(top, online.top[v]))) {  // a lane whose maximum stays is multiplied by exactly 1
      const auto shrink = Exp2(d, hn::Sub(online.top[v], top));
      online.sum[v] = hn::Mul(online.sum[v], shrink);
      for (Index c = 0; c < value_width; ++c) {
        T* o = out + c * kStrip<T> + v * kLanes<T>;
        hn::Store(hn::Mul(hn::Load(d, o), shrink), d, o);
      }
      online.top[v] = top;
    }
    auto sum = online.sum[v];
    for (Index j = 0; j < count; ++j) {
      const auto p = Exp2(d, hn::Sub(hn::Load(d, column + j * kStrip<T>), top));
      hn::Store(p, d, column + j * kStrip<T>);
      sum = hn::Add(sum, p);
    }
    online.sum[v] = sum;
  }
}

// Row j of the block is key number first + j; lanes that do not see it get -inf.
template <class T>
HWY_INLINE void HideKeys(T* block, Index first, Index count, const T* limits) {
  const Strip<T> d;
  const auto hidden = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index j = 0; j < count; ++j)
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
      T* logit = block + j * kStrip<T> + lane;
      const auto sees = hn::Lt(hn::Set(d, static_cast<T>(first + j)), hn::Load(d, limits + lane));
      hn::Store(hn::IfThenElse(sees, hn::Load(d, logit), hidden), d, logit);
    }
}

// Queries number [begin, end) of one head.
template <class T>
void ForwardRange(View<const T, 4> q, View<const T, 4> k, View<const T, 4> v, const Seen& s, Index b, Index h,
                  Index begin, Index end, double scale, View<T, 4> out, View<T, 3> lse) {
  const Strip<T> d;
  const Index width = q.dim(3), value_width = v.dim(3);
  const auto keys = s.keys.first(static_cast<std::size_t>(s.limits[static_cast<std::size_t>(end - 1)]));
  const Tensor k_rows = PackRows(k, b, h, keys), v_rows = PackRows(v, b, h, keys);
  Tensor q_strip = Buffer<T>(width, kStrip<T>), out_strip = Buffer<T>(value_width, kStrip<T>);
  T* const o = out_strip.data<T>();
  alignas(kAlignment) T block[kBlock * kStrip<T>], limits[kStrip<T>], tops[kStrip<T>], sums[kStrip<T>];

  for (Index first = begin; first < end; first += kStrip<T>) {
    const Index count = std::min(kStrip<T>, end - first);
    const auto positions = s.queries.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    const auto limit_of = [&](Index lane) {
      return s.limits[static_cast<std::size_t>(std::min(first + lane, end - 1))];
    };
    LoadStrip(q, b, h, positions, static_cast<T>(scale * std::numbers::log2e), q_strip.data<T>());
    for (Index lane = 0; lane < kStrip<T>; ++lane) limits[lane] = static_cast<T>(limit_of(lane));
    std::fill_n(o, value_width * kStrip<T>, T(0));
    const auto lowest = hn::Set(d, std::numeric_limits<T>::lowest());
    Online<T> online{{lowest, lowest}, {hn::Zero(d), hn::Zero(d)}};

    for (Index j = 0; j < limit_of(count - 1); j += kBlock) {
      const Index rows = std::min(kBlock, limit_of(count - 1) - j);
      Product<2, false>(d, rows, Left<T>{k_rows.data<T>() + j * width, width, 1},
                        Panel<const T>{q_strip.data<T>(), kStrip<T>}, width, Panel<T>{block, kStrip<T>});
      if (limit_of(0) < j + rows) HideKeys(block, j, rows, limits);
      Weigh(block, rows, online, o, value_width);
      Product<2, true>(d, value_width, Left<T>{v_rows.data<T>() + j * value_width, 1, value_width},
                       Panel<const T>{block, kStrip<T>}, rows, Panel<T>{o, kStrip<T>});
    }
    for (Index half = 0; half < 2; ++half) {
      hn::Store(online.top[half], d, tops + half * kLanes<T>);
      hn::Store(online.sum[half], d, sums + half * kLanes<T>);
    }
    StoreStrip(
        o, [&](std::size_t lane) { return 1 / sums[lane]; }, out, b, h, positions);
    for (std::size_t lane = 0; lane < positions.size(); ++lane)
      lse(b, h, positions[lane]) = static_cast<T>(std::numbers::ln2 * static_cast<double>(tops[lane]) +
                                                  std::log(static_cast<double>(sums[lane])));
  }
}

template <class T>
void Forward(View<const T, 4> q, View<const T, 4> k, View<const T, 4> v, const Mask& mask,
             const AttentionOptions& options, View<T, 4> out, View<T, 3> lse) {
  const Index heads = q.dim(1), ranges = std::max<Index>(1, (q.dim(2) + kQueryRange - 1) / kQueryRange);
  const Index work = std::min(q.dim(2), kQueryRange) * k.dim(2) * (q.dim(3) + v.dim(3)) / 8;
  parallel_for(q.dim(0) * heads * ranges, work, [&](Index task) {
    const Index b = task / ranges / heads, h = task / ranges % heads, begin = task % ranges * kQueryRange;
    const Seen s = seen(mask, b, q.dim(2), k.dim(2), options);
    const Index count = static_cast<Index>(s.queries.size());
    if (begin == 0) {
      ZeroOthers(s.queries, out, b, h);
      ForOthers(s.queries, q.dim(2), [&](Index i) { lse(b, h, i) = -std::numeric_limits<T>::infinity(); });
    }
    if (begin < count)
      ForwardRange(q, k, v, s, b, h, begin, std::min(count, begin + kQueryRange), options.scale, out, lse);
  });
}

// ---- backward

// A head's queries in the order of Seen::queries, and what backward needs to know of each.
template <class T>
struct Queries {
  Tensor q;      // [n, E]
  Tensor dout;   // [n, Ev]
  Tensor lse;    // [n], to base 2
  Tensor delta;  // [n], sum(dout * out) - dlse
};

template <class T>
T Dot(const T* a, const T* b, Index count) {
  const Strip<T> d;
  auto sum = hn::Zero(d);
  Index i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  T total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

template <class T>
struct BackwardArguments {
  View<const T, 4> dout, q, k, v, out;
  View<const T, 3> lse;
  const Tensor& dlse;
  const Mask& mask;
  const AttentionOptions& options;
  View<T, 4> dq, dk, dv;

  Index padded_width() const { return (q.dim(3) + kLanes<T> - 1) / kLanes<T> * kLanes<T>; }
};

template <class T>
Queries<T> PackQueries(const BackwardArguments<T>& args, const Seen& s, Index b, Index h) {
  const Index count = static_cast<Index>(s.queries.size());
  Queries<T> packed{PackRows(args.q, b, h, s.queries), PackRows(args.dout, b, h, s.queries), Buffer<T>(count, 1),
                    Buffer<T>(count, 1)};
  T* lse = packed.lse.template data<T>();
  T* delta = packed.delta.template data<T>();
  for (const Index i : s.queries) {
    *lse++ = args.lse(b, h, i) * static_cast<T>(std::numbers::log2e);
    *delta = Dot(&args.dout(b, h, i, 0), &args.out(b, h, i, 0), args.out.dim(3));
    if (args.dlse.defined()) *delta -= args.dlse.template view<const T, 3>()(b, h, i);
    ++delta;
  }
  return packed;
}

// Lane l of the strip is key number first + l; where the query of a row does not see it, the logit becomes -inf.
template <class T>
HWY_INLINE void HideLanes(T* block, Index count, Index first, const Index* limits) {
  const Strip<T> d;
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

// Logits to weights p, and dp to ds = p (dp - delta), in place.
template <class T>
HWY_INLINE void Differentiate(T* p_block, T* ds_block, Index count, const T* lse, const T* delta) {
  const Strip<T> d;
  for (Index i = 0; i < count; ++i)
    for (Index lane = i * kStrip<T>; lane < (i + 1) * kStrip<T>; lane += kLanes<T>) {
      const auto p = Exp2(d, hn::Sub(hn::Load(d, p_block + lane), hn::Set(d, lse[i])));
      hn::Store(p, d, p_block + lane);
      hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, ds_block + lane), hn::Set(d, delta[i]))), d, ds_block + lane);
    }
}

// dq[i, :] += sum_l ds[i, l] k_rows[l, :], two vectors of columns at a time.
template <class T>
HWY_INLINE void AddQueryGradient(const T* ds_block, Index count, Index keys, const T* k_rows, Index padded_width,
                                 T* dq) {
  const Strip<T> d;
  const Left<T> ds{ds_block, kStrip<T>, 1};
  Index e = 0;
  for (; e + kStrip<T> <= padded_width; e += kStrip<T>)
    Product<2, true>(d, count, ds, Panel<const T>{k_rows + e, padded_width}, keys, Panel<T>{dq + e, padded_width});
  if (e < padded_width)
    Product<1, true>(d, count, ds, Panel<const T>{k_rows + e, padded_width}, keys, Panel<T>{dq + e, padded_width});
}

// dk and dv of the keys number [begin, end) of one head, and their share of its dq, added to dq_part [n, padded width].
template <class T>
void BackwardChunk(const BackwardArguments<T>& args, const Seen& s, Index b, Index h, Index begin, Index end,
                   T* dq_part) {
  const Strip<T> d;
  const Index width = args.q.dim(3), value_width = args.v.dim(3), padded_width = args.padded_width();
  const Index query_count = static_cast<Index>(s.queries.size());
  const T scale = static_cast<T>(args.options.scale);
  const Queries<T> queries = PackQueries(args, s, b, h);
  const T *q = queries.q.template data<T>(), *dout = queries.dout.template data<T>();
  const T *lse = queries.lse.template data<T>(), *delta = queries.delta.template data<T>();
  Tensor k_strip = Buffer<T>(width, kStrip<T>), v_strip = Buffer<T>(value_width, kStrip<T>);
  Tensor dk_strip = Buffer<T>(width, kStrip<T>), dv_strip = Buffer<T>(value_width, kStrip<T>);
  Tensor k_rows = Buffer<T>(kStrip<T>, padded_width);
  alignas(kAlignment) T p_block[kBlock * kStrip<T>], ds_block[kBlock * kStrip<T>];
  const Panel<T> p{p_block, kStrip<T>}, ds{ds_block, kStrip<T>};

  for (Index first = begin; first < end; first += kStrip<T>) {
    const Index keys = std::min(kStrip<T>, end - first);
    const auto positions = s.keys.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(keys));
    LoadStrip(args.k, b, h, positions, static_cast<T>(args.options.scale * std::numbers::log2e), k_strip.data<T>());
    LoadStrip(args.v, b, h, positions, T(1), v_strip.data<T>());
    fill(k_rows, 0);
    for (Index l = 0; l < keys; ++l)
      for (Index e = 0; e < width; ++e)
        k_rows.data<T>()[l * padded_width + e] = scale * args.k(b, h, positions[static_cast<std::size_t>(l)], e);
    fill(dk_strip, 0);
    fill(dv_strip, 0);

    Index i = std::upper_bound(s.limits.begin(), s.limits.end(), first) - s.limits.begin();
    for (; i < query_count; i += kBlock) {
      const Index rows = std::min(kBlock, query_count - i);
      const Index* limits = s.limits.data() + i;
      Product<2, false>(d, rows, Left<T>{q + i * width, width, 1}, Panel<const T>{k_strip.data<T>(), kStrip<T>}, width,
                        p);
      if (limits[0] < first + kStrip<T>) HideLanes(p_block, rows, first, limits);
      Product<2, false>(d, rows, Left<T>{dout + i * value_width, value_width, 1},
                        Panel<const T>{v_strip.data<T>(), kStrip<T>}, value_width, ds);
      Differentiate(p_block, ds_block, rows, lse + i, delta + i);
      Product<2, true>(d, value_width, Left<T>{dout + i * value_width, 1, value_width},
                       Panel<const T>{p_block, kStrip<T>}, rows, Panel<T>{dv_strip.data<T>(), kStrip<T>});
      Product<2, true>(d, width, Left<T>{q + i * width, 1, width}, Panel<const T>{ds_block, kStrip<T>}, rows,
                       Panel<T>{dk_strip.data<T>(), kStrip<T>});
      AddQueryGradient(ds_block, rows, keys, k_rows.data<T>(), padded_width, dq_part + i * padded_width);
    }
    StoreStrip(
        dk_strip.data<T>(), [&](std::size_t) { return scale; }, args.dk, b, h, positions);
    StoreStrip(
        dv_strip.data<T>(), [&](std::size_t) { return T(1); }, args.dv, b, h, positions);
  }
}

Index KeyChunks(Index keys) {
  return std::clamp<Index>((keys + kKeyChunk - 1) / kKeyChunk, 1, kMostKeyChunks);
}

// Chunk number `chunk` of one head; returns its share of dq, undefined when the sample has fewer chunks.
template <class T>
Tensor BackwardTask(const BackwardArguments<T>& args, Index head, Index chunk) {
  const Index heads = args.q.dim(1), b = head / heads, h = head % heads;
  const Seen s = seen(args.mask, b, args.q.dim(2), args.k.dim(2), args.options);
  const Index keys = static_cast<Index>(s.keys.size()), chunks = KeyChunks(keys);
  if (chunk == 0) {
    ZeroOthers(s.queries, args.dq, b, h);
    ZeroOthers(s.keys, args.dk, b, h);
    ZeroOthers(s.keys, args.dv, b, h);
  }
  if (chunk >= chunks) return {};
  const Index length = ((keys + chunks - 1) / chunks + kBlock - 1) / kBlock * kBlock;
  Tensor dq_part = Buffer<T>(static_cast<Index>(s.queries.size()), args.padded_width());
  fill(dq_part, 0);
  BackwardChunk(args, s, b, h, chunk * length, std::min(keys, (chunk + 1) * length), dq_part.data<T>());
  return dq_part;
}

template <class T>
void AddPart(const Tensor& part, Tensor& sum) {
  if (!part.defined()) return;
  for (Index i = 0; i < sum.size(); ++i) sum.data<T>()[i] += part.data<T>()[i];
}

template <class T>
void StoreQueryGradient(const BackwardArguments<T>& args, Index head, const Tensor& sum) {
  const Index heads = args.q.dim(1), b = head / heads, h = head % heads;
  const Seen s = seen(args.mask, b, args.q.dim(2), args.k.dim(2), args.options);
  const T* row = sum.data<T>();
  for (const Index i : s.queries) {
    std::copy_n(row, args.q.dim(3), &args.dq(b, h, i, 0));
    row += args.padded_width();
  }
}

// A sample's keys are always cut into the same chunks, and their shares of dq are added in order. Only whether chunks
// run side by side depends on the number of threads.
template <class T>
void Backward(const BackwardArguments<T>& args) {
  const Index heads = args.q.dim(0) * args.q.dim(1), chunks = KeyChunks(args.k.dim(2));
  const Index work = args.q.dim(2) * args.k.dim(2) * (3 * args.q.dim(3) + 2 * args.v.dim(3)) / 8;
  if (heads >= num_threads() || chunks == 1) {
    parallel_for(heads, work, [&](Index head) {
      Tensor sum = BackwardTask(args, head, 0);
      for (Index c = 1; c < chunks; ++c) AddPart<T>(BackwardTask(args, head, c), sum);
      StoreQueryGradient(args, head, sum);
    });
    return;
  }
  std::vector<Tensor> parts(static_cast<std::size_t>(heads * chunks));
  const auto part = [&](Index head, Index c) -> Tensor& { return parts[static_cast<std::size_t>(head * chunks + c)]; };
  parallel_for(heads * chunks, work / chunks, [&](Index task) {
    part(task / chunks, task % chunks) = BackwardTask(args, task / chunks, task % chunks);
  });
  parallel_for(heads, args.q.dim(2) * args.q.dim(3) * chunks / 8, [&](Index head) {
    for (Index c = 1; c < chunks; ++c) AddPart<T>(part(head, c), part(head, 0));
    StoreQueryGradient(args, head, part(head, 0));
  });
}

// ---- what is dispatched

void Attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               Tensor& out, Tensor& lse) {
  visit_float("attention", q.dtype(), [&]<class T>(Type<T>) {
    Forward<T>(q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(), keys, options, out.view<T, 4>(),
               lse.view<T, 3>());
  });
}

void AttentionGrad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                   const Tensor& out, const Tensor& lse, const Mask& keys, const AttentionOptions& options, Tensor& dq,
                   Tensor& dk, Tensor& dv) {
  visit_float("attention_grad", q.dtype(), [&]<class T>(Type<T>) {
    Backward<T>({dout.view<const T, 4>(), q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(),
                 out.view<const T, 4>(), lse.view<const T, 3>(), dlse, keys, options, dq.view<T, 4>(), dk.view<T, 4>(),
                 dv.view<T, 4>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(Attention);
HWY_EXPORT(AttentionGrad);

namespace cpu {

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               Tensor& out, Tensor& lse) {
  SUBQUAD_DISPATCH(Attention)(q, k, v, keys, options, out, lse);
}

void attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                    const Tensor& out, const Tensor& lse, const Mask& keys, const AttentionOptions& options, Tensor& dq,
                    Tensor& dk, Tensor& dv) {
  SUBQUAD_DISPATCH(AttentionGrad)(dout, dlse, q, k, v, out, lse, keys, options, dq, dk, dv);
}

}  // namespace cpu
}  // namespace subquad::kernels

#endif  // HWY_ONCE
