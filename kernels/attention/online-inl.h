// The softmax of a strip of queries whose keys come block by block, as every attention on the CPU does it: maximum, sum
// and what was summed with them so far follow each block. (Milakov and Gimelshein 2018)
#if defined(SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_
#undef SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_
#else
#define SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <limits>
#include <type_traits>

#include "subquad/kernels/attention/strip-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// What a strip of queries has seen so far.
template <class T>
struct Online {
  hn::Vec<Vector<T>> top[2];  // the largest logit so far
  hn::Vec<Vector<T>> sum[2];  // sum of e^(logit - top)
};

template <class T>
HWY_INLINE Online<T> NothingYet() {
  const Vector<T> d;
  const auto lowest = hn::Set(d, std::numeric_limits<T>::lowest());
  return {{lowest, lowest}, {hn::Zero(d), hn::Zero(d)}};
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

// Rows of a block whose exponentials are made side by side: as many as registers hold.
inline constexpr Index kExponentials = HWY_TARGET == HWY_AVX3 ? 8 : 2;

// The largest of `top` and a column of vectors, in four chains: one would wait for each comparison.
template <class T>
HWY_INLINE hn::Vec<Vector<T>> LargestOf(const T* column, Index count, hn::Vec<Vector<T>> top) {
  const Vector<T> d;
  auto second = top, third = top, fourth = top;
  Index j = 0;
  for (; j + 4 <= count; j += 4) {
    top = hn::Max(top, hn::Load(d, column + j * kStrip<T>));
    second = hn::Max(second, hn::Load(d, column + (j + 1) * kStrip<T>));
    third = hn::Max(third, hn::Load(d, column + (j + 2) * kStrip<T>));
    fourth = hn::Max(fourth, hn::Load(d, column + (j + 3) * kStrip<T>));
  }
  for (; j < count; ++j) top = hn::Max(top, hn::Load(d, column + j * kStrip<T>));
  return hn::Max(hn::Max(top, second), hn::Max(third, fourth));
}

// kCount vectors of a column: logits to e^(logit - top); returns their sum with `sum`, in their order.
template <int kCount, class T>
HWY_INLINE hn::Vec<Vector<T>> WeighRows(T* column, hn::Vec<Vector<T>> top, hn::Vec<Vector<T>> sum) {
  const Vector<T> d;
  hn::Vec<Vector<T>> p[kCount];
#pragma GCC unroll 8
  for (Index i = 0; i < kCount; ++i) p[i] = hn::Mul(hn::Sub(hn::Load(d, column + i * kStrip<T>), top), Log2E(d));
  Exp2OfEach<kCount>(d, p);
#pragma GCC unroll 8
  for (Index i = 0; i < kCount; ++i) {
    hn::Store(p[i], d, column + i * kStrip<T>);
    sum = hn::Add(sum, p[i]);
  }
  return sum;
}

// block [count][lanes]: logits to weights relative to the new maximum, in the first `halves` vectors of the strip.
// Where that is larger, shrink(half, factors) is to multiply what was summed so far of the lanes of one half; a lane
// whose maximum stays has a factor of exactly 1.
template <int halves = 2, class T, class F>
HWY_INLINE void WeighBlock(T* block, Index count, Online<T>& online, const F& shrink_sums) {
  const Vector<T> d;
  for (Index half = 0; half < halves; ++half) {
    T* column = block + half * kLanes<T>;
    const auto top = LargestOf(column, count, online.top[half]);
    if (!hn::AllTrue(d, hn::Eq(top, online.top[half]))) {
      const auto shrink = Exp2(d, hn::Mul(hn::Sub(online.top[half], top), Log2E(d)));
      online.sum[half] = hn::Mul(online.sum[half], shrink);
      shrink_sums(half, shrink);
      online.top[half] = top;
    }
    auto sum = online.sum[half];
    Index j = 0;
    for (; j + kExponentials <= count; j += kExponentials)
      sum = WeighRows<kExponentials>(column + j * kStrip<T>, top, sum);
    for (; j < count; ++j) sum = WeighRows<1>(column + j * kStrip<T>, top, sum);
    online.sum[half] = sum;
  }
}

// The same with what was summed so far in out [value_width][lanes].
template <int halves = 2, class T>
HWY_INLINE void Weigh(T* block, Index count, Online<T>& online, T* out, Index value_width) {
  const Vector<T> d;
  WeighBlock<halves>(block, count, online, [&](Index half, hn::Vec<Vector<T>> factors) HWY_ATTR {
    for (Index c = 0; c < value_width; ++c) {
      T* o = out + c * kStrip<T> + half * kLanes<T>;
      hn::Store(hn::Mul(hn::Load(d, o), factors), d, o);
    }
  });
}

// lse as attention.h has it, of whole vectors: rounded to T, and what the rounding lost. In double, a vector at a
// time, as queries with few keys have little else to do. Anything where the sum is 0.
template <class T>
HWY_INLINE void RoundLse(const T* top, const T* sum, Index count, T* lse, T* lse_rest) {
  const hn::ScalableTag<double> wide;
  const hn::Rebind<T, decltype(wide)> d;
  const auto widen = [&](auto v) HWY_ATTR {
    if constexpr (std::is_same_v<T, double>)
      return v;
    else
      return hn::PromoteTo(wide, v);
  };
  const auto round = [&](auto v) HWY_ATTR {
    if constexpr (std::is_same_v<T, double>)
      return v;
    else
      return hn::DemoteTo(d, v);
  };
  for (Index lane = 0; lane < count; lane += static_cast<Index>(hn::MaxLanes(wide))) {
    const auto highest = widen(hn::Load(d, top + lane)), total = widen(hn::Load(d, sum + lane));
    const auto rest = hn::IfThenElse(hn::Eq(total, total), hn::Log(wide, total), total);  // keeps a NaN
    const auto rounded = round(hn::Add(highest, rest));
    hn::Store(rounded, d, lse + lane);
    hn::Store(round(hn::Add(hn::Sub(highest, widen(rounded)), rest)), d, lse_rest + lane);
  }
}

// A strip's results when every key has been weighed; each lane has seen one at least.
template <class T>
struct StripSums {
  HWY_ALIGN T top[kStrip<T>], sum[kStrip<T>], share[kStrip<T>];  // out is share times what was summed

  explicit StripSums(const Online<T>& online) {
    const Vector<T> d;
    for (Index half = 0; half < 2; ++half) {
      hn::Store(online.top[half], d, top + half * kLanes<T>);
      hn::Store(online.sum[half], d, sum + half * kLanes<T>);
      hn::Store(hn::Div(hn::Set(d, T(1)), online.sum[half]), d, share + half * kLanes<T>);
    }
  }

  // f(lane, lse, lse_rest) for the first `count` lanes.
  template <class F>
  HWY_INLINE void for_lse(std::size_t count, const F& f) const {
    HWY_ALIGN T lse[kStrip<T>], rest[kStrip<T>];
    RoundLse(top, sum, kStrip<T>, lse, rest);
    for (std::size_t lane = 0; lane < count; ++lane) f(lane, lse[lane], rest[lane]);
  }
};

template <class T>
HWY_INLINE T Dot(const T* a, const T* b, Index count) {
  const Vector<T> d;
  auto sum = hn::Zero(d);
  Index i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  T total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

// What backward needs to know of a query, the same in all lanes or of one in each.
template <class T>
struct Known {
  hn::Vec<Vector<T>> lse, rest, delta;  // rest is to base 2
};

// For backward. Row i of kRows, and of them V vectors, belongs to of(i): logits to weights p = e^(logit - lse - rest),
// and dp to ds = p (dp - delta), in place. No p exceeds 1, whatever the forward results are that the caller hands in.
template <int kRows, int V, class T, class Of>
HWY_INLINE void DifferentiateRows(T* p_rows, T* ds_rows, const Of& of) {
  const Vector<T> d;
  hn::Vec<Vector<T>> p[kRows * V];
#pragma GCC unroll 8
  for (Index i = 0; i < kRows * V; ++i) {
    const Known<T> query = of(i / V);
    const auto logit = hn::Load(d, p_rows + i / V * kStrip<T> + i % V * kLanes<T>);
    const auto log2_p = hn::MulSub(hn::Sub(logit, query.lse), Log2E(d), query.rest);
    p[i] = hn::IfThenZeroElse(hn::Gt(log2_p, hn::Zero(d)), log2_p);  // keeps a NaN
  }
  Exp2OfEach<kRows * V>(d, p);
#pragma GCC unroll 8
  for (Index i = 0; i < kRows * V; ++i) {
    const Index at = i / V * kStrip<T> + i % V * kLanes<T>;
    hn::Store(p[i], d, p_rows + at);
    hn::Store(hn::Mul(p[i], hn::Sub(hn::Load(d, ds_rows + at), of(i / V).delta)), d, ds_rows + at);
  }
}

// Blocks [count][lanes] whose rows are queries.
template <class T>
HWY_INLINE void Differentiate(T* p_block, T* ds_block, Index count, const T* lse, const T* rest, const T* delta) {
  const Vector<T> d;
  constexpr int kRows = kExponentials / 2;
  const auto known = [&](Index i) HWY_ATTR {
    return Known<T>{hn::Set(d, lse[i]), hn::Set(d, rest[i]), hn::Set(d, delta[i])};
  };
  Index i = 0;
  for (; i + kRows <= count; i += kRows)
    DifferentiateRows<kRows, 2>(p_block + i * kStrip<T>, ds_block + i * kStrip<T>,
                                [&](Index r) HWY_ATTR { return known(i + r); });
  for (; i < count; ++i)
    DifferentiateRows<1, 2>(p_block + i * kStrip<T>, ds_block + i * kStrip<T>,
                            [&](Index) HWY_ATTR { return known(i); });
}

// Blocks [count][lanes] whose lanes are queries.
template <int halves, class T>
HWY_INLINE void DifferentiateLanes(T* p_block, T* ds_block, Index count, const T* lse, const T* rest, const T* delta) {
  const Vector<T> d;
  for (Index lane = 0; lane < halves * kLanes<T>; lane += kLanes<T>) {
    const Known<T> queries{hn::Load(d, lse + lane), hn::Load(d, rest + lane), hn::Load(d, delta + lane)};
    const auto known = [&](Index) HWY_ATTR { return queries; };
    T *p = p_block + lane, *ds = ds_block + lane;
    Index e = 0;
    for (; e + kExponentials <= count; e += kExponentials)
      DifferentiateRows<kExponentials, 1>(p + e * kStrip<T>, ds + e * kStrip<T>, known);
    for (; e < count; ++e) DifferentiateRows<1, 1>(p + e * kStrip<T>, ds + e * kStrip<T>, known);
  }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
