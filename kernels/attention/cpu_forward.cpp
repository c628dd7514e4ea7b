#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/attention/cpu_forward.cpp"
#include "subquad/kernels/attention/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/strip-inl.h"

// Lanes are queries. Per strip, and for 64 keys at a time:
//
//   block [64][lanes] = K Qt            logits: Qt [E][lanes] is scaled
//   block = e^(block - maximum)         the running maximum of each lane; what was summed before follows it down
//   out [Ev][lanes] += Vt block
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kRange = 1024;  // queries per task; each packs its keys, 4 % of the time at 512 (N 4096, E 32)

template <class T>
struct Online {
  hn::Vec<Vector<T>> top[2];  // the largest logit so far
  hn::Vec<Vector<T>> sum[2];  // sum of e^(logit - top)
};

// Logits to weights relative to the new maximum.
template <class T>
HWY_INLINE void Weigh(T* block, Index count, Online<T>& online, T* out, Index value_width) {
  const Vector<T> d;
  for (Index half = 0; half < 2; ++half) {
    T* column = block + half * kLanes<T>;
    auto top = online.top[half];
    for (Index j = 0; j < count; ++j) top = hn::Max(top, hn::Load(d, column + j * kStrip<T>));
    if (!hn::AllTrue(d, hn::Eq(top, online.top[half]))) {  // a lane whose maximum stays is multiplied by exactly 1
      const auto shrink = Exp2(d, hn::Mul(hn::Sub(online.top[half], top), Log2E(d)));
      online.sum[half] = hn::Mul(online.sum[half], shrink);
      for (Index c = 0; c < value_width; ++c) {
        T* o = out + c * kStrip<T> + half * kLanes<T>;
        hn::Store(hn::Mul(hn::Load(d, o), shrink), d, o);
      }
      online.top[half] = top;
    }
    auto sum = online.sum[half];
    for (Index j = 0; j < count; ++j) {
      const auto p = Exp2(d, hn::Mul(hn::Sub(hn::Load(d, column + j * kStrip<T>), top), Log2E(d)));
      hn::Store(p, d, column + j * kStrip<T>);
      sum = hn::Add(sum, p);
    }
    online.sum[half] = sum;
  }
}

// Row j of the block is key number first + j; lanes that do not see it get -inf.
template <class T>
HWY_INLINE void HideKeys(T* block, Index first, Index count, const T* limits) {
  const Vector<T> d;
  const auto hidden = hn::Set(d, -std::numeric_limits<T>::infinity());
  for (Index j = 0; j < count; ++j)
    for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>) {
      T* logit = block + j * kStrip<T> + lane;
      const auto sees = hn::Lt(hn::Set(d, static_cast<T>(first + j)), hn::Load(d, limits + lane));
      hn::Store(hn::IfThenElse(sees, hn::Load(d, logit), hidden), d, logit);
    }
}

template <class T>
struct ForwardArguments {
  View<const T, 4> q, k, v;
  const Mask& mask;
  const AttentionOptions& options;
  View<T, 4> out;
  View<T, 3> lse, lse_rest;
};

// Queries number [begin, end) of one head.
template <class T>
void Range(const ForwardArguments<T>& args, const Seen& s, Index b, Index h, Index begin, Index end) {
  const Vector<T> d;
  const Index width = args.q.dim(3), value_width = args.v.dim(3);
  const T scale = static_cast<T>(args.options.scale);
  const auto limit_of = [&](Index a) { return s.limits[static_cast<std::size_t>(std::min(a, end - 1))]; };
  const auto keys = s.keys.first(static_cast<std::size_t>(limit_of(end)));
  const Buffer<T> k_rows = PackRows(args.k, b, h, keys), v_rows = PackRows(args.v, b, h, keys);
  Buffer<T> q_strip(width * kStrip<T>), out_strip(value_width * kStrip<T>), spare(std::max(width, value_width));
  spare.zero();
  HWY_ALIGN T block[kBlock * kStrip<T>], limits[kStrip<T>], tops[kStrip<T>], sums[kStrip<T>], shares[kStrip<T>];
  const Panel<T> logits{block, kStrip<T>}, out{out_strip.data(), kStrip<T>};

  for (Index first = begin; first < end; first += kStrip<T>) {
    const Index count = std::min(kStrip<T>, end - first);
    const auto positions = s.queries.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    LoadStrip(StripRows<const T>(args.q, b, h, positions, spare.data()), width, scale, q_strip.data());
    for (Index lane = 0; lane < kStrip<T>; ++lane) limits[lane] = static_cast<T>(limit_of(first + lane));
    out_strip.zero();
    const auto lowest = hn::Set(d, std::numeric_limits<T>::lowest());
    Online<T> online{{lowest, lowest}, {hn::Zero(d), hn::Zero(d)}};

    const Index last_limit = limit_of(first + count - 1);
    for (Index j = 0; j < last_limit; j += kBlock) {
      const Index rows = std::min(kBlock, last_limit - j);
      Product<2, false>(d, rows, Left<T>{k_rows.data() + j * width, width, 1},
                        Panel<const T>{q_strip.data(), kStrip<T>}, width, logits);
      if (limit_of(first) < j + rows) HideKeys(block, j, rows, limits);
      Weigh(block, rows, online, out.data, value_width);
      Product<2, true>(d, value_width, Left<T>{v_rows.data() + j * value_width, 1, value_width},
                       Panel<const T>{block, kStrip<T>}, rows, out);
    }

    for (Index half = 0; half < 2; ++half) {
      hn::Store(online.top[half], d, tops + half * kLanes<T>);
      hn::Store(online.sum[half], d, sums + half * kLanes<T>);
      hn::Store(hn::Div(hn::Set(d, T(1)), online.sum[half]), d, shares + half * kLanes<T>);
    }
    StoreStrip(out.data, shares, value_width, StripRows<T>(args.out, b, h, positions, spare.data()));
    std::fill_n(spare.data(), value_width, T(0));
    for (std::size_t lane = 0; lane < positions.size(); ++lane) {
      const double top = static_cast<double>(tops[lane]), rest = std::log(static_cast<double>(sums[lane]));
      const T lse = static_cast<T>(top + rest);
      args.lse(b, h, positions[lane]) = lse;
      args.lse_rest(b, h, positions[lane]) = static_cast<T>(top - static_cast<double>(lse) + rest);
    }
  }
}

template <class T>
void Forward(const ForwardArguments<T>& args) {
  const Index query_count = args.q.dim(2), key_count = args.k.dim(2), heads = args.q.dim(1);
  const Index ranges = std::max<Index>(1, (query_count + kRange - 1) / kRange);
  const Index work = std::min(query_count, kRange) * key_count * (args.q.dim(3) + args.v.dim(3)) / 8;
  parallel_for(args.q.dim(0) * heads * ranges, work, [&](Index task) {
    const Index b = task / ranges / heads, h = task / ranges % heads, begin = task % ranges * kRange;
    const Seen s = seen(args.mask, b, query_count, key_count, args.options);
    const Index end = std::min(static_cast<Index>(s.queries.size()), begin + kRange);
    if (begin == 0) {
      ZeroOthers(s.queries, args.out, b, h);
      ForOthers(s.queries, query_count, [&](Index i) {
        args.lse(b, h, i) = -std::numeric_limits<T>::infinity();
        args.lse_rest(b, h, i) = 0;
      });
    }
    if (begin < end) Range(args, s, b, h, begin, end);
  });
}

}  // namespace

void Attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               AttentionOutput& result) {
  visit_float("attention", q.dtype(), [&]<class T>(Type<T>) {
    Forward<T>({q.view<const T, 4>(), k.view<const T, 4>(), v.view<const T, 4>(), keys, options,
                result.out.view<T, 4>(), result.lse.view<T, 3>(), result.lse_rest.view<T, 3>()});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(Attention);

void cpu::attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                    const AttentionOptions& options, AttentionOutput& result) {
  SUBQUAD_DISPATCH(Attention)(q, k, v, keys, options, result);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
