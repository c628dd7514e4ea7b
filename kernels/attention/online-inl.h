// The softmax of a strip of queries whose keys come block by block, as every attention on the CPU does it: maximum, sum
// and what was summed with them so far follow each block. (Milakov and Gimelshein 2018)
#if defined(SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_
#undef SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_
#else
#define SUBQUAD_KERNELS_ATTENTION_ONLINE_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <limits>

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

// block [count][lanes]: logits to weights relative to the new maximum, in the first `halves` vectors of the strip. Where
// that is larger, shrink(half, factors) is to multiply what was summed so far of the lanes of one half; a lane whose
// maximum stays has a factor of exactly 1.
template <int halves = 2, class T, class F>
HWY_INLINE void WeighBlock(T* block, Index count, Online<T>& online, const F& shrink_sums) {
  const Vector<T> d;
  for (Index half = 0; half < halves; ++half) {
    T* column = block + half * kLanes<T>;
    auto top = online.top[half];
    for (Index j = 0; j < count; ++j) top = hn::Max(top, hn::Load(d, column + j * kStrip<T>));
    if (!hn::AllTrue(d, hn::Eq(top, online.top[half]))) {
      const auto shrink = Exp2(d, hn::Mul(hn::Sub(online.top[half], top), Log2E(d)));
      online.sum[half] = hn::Mul(online.sum[half], shrink);
      shrink_sums(half, shrink);
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

// lse as attention.h has it: rounded to T, and what the rounding lost.
template <class T>
HWY_INLINE void RoundLse(T top, T sum, T* lse, T* lse_rest) {
  const double highest = static_cast<double>(top), rest = std::log(static_cast<double>(sum));
  *lse = static_cast<T>(highest + rest);
  *lse_rest = static_cast<T>(highest - static_cast<double>(*lse) + rest);
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

  void store_lse(std::size_t lane, T* lse, T* lse_rest) const { RoundLse(top[lane], sum[lane], lse, lse_rest); }
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

// For backward. Blocks [count][lanes] whose rows are queries: logits to weights p = e^(logit - lse - rest), and dp to
// ds = p (dp - delta), in place; `rest` is to base 2. No p exceeds 1, whatever the forward results are that the caller
// hands in.
template <class T>
HWY_INLINE void Differentiate(T* p_block, T* ds_block, Index count, const T* lse, const T* rest, const T* delta) {
  const Vector<T> d;
  for (Index i = 0; i < count; ++i)
    for (Index lane = i * kStrip<T>; lane < (i + 1) * kStrip<T>; lane += kLanes<T>) {
      const auto beyond_lse = hn::Sub(hn::Load(d, p_block + lane), hn::Set(d, lse[i]));
      const auto log2_p = hn::MulSub(beyond_lse, Log2E(d), hn::Set(d, rest[i]));
      const auto p = Exp2(d, hn::IfThenZeroElse(hn::Gt(log2_p, hn::Zero(d)), log2_p));  // keeps a NaN
      hn::Store(p, d, p_block + lane);
      hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, ds_block + lane), hn::Set(d, delta[i]))), d, ds_block + lane);
    }
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
