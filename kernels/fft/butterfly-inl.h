// Transforms of 2, 3, 4, 5 and 8 complex numbers in registers, each lane one signal, and the sweep over a line that is
// made of them. Include inside the per-target part of a kernel (after targets.h and hwy/highway.h); the functions live
// in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_FFT_BUTTERFLY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FFT_BUTTERFLY_INL_H_
#undef SUBQUAD_KERNELS_FFT_BUTTERFLY_INL_H_
#else
#define SUBQUAD_KERNELS_FFT_BUTTERFLY_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/kernels/fft/cpu_plan.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using FftLanes = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kFftLanes = static_cast<Index>(hn::MaxLanes(FftLanes<T>()));

// One complex number of each lane's signal.
template <class T>
struct Spectral {
  using V = hn::Vec<FftLanes<T>>;
  V re, im;
};

template <class T>
HWY_INLINE Spectral<T> operator+(Spectral<T> a, Spectral<T> b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
template <class T>
HWY_INLINE Spectral<T> operator-(Spectral<T> a, Spectral<T> b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
template <class T>
HWY_INLINE Spectral<T> Conjugate(Spectral<T> a) {
  return {a.re, hn::Neg(a.im)};
}
template <class T>
HWY_INLINE Spectral<T> TimesMinusI(Spectral<T> a) {
  return {a.im, hn::Neg(a.re)};
}
template <class T>
HWY_INLINE Spectral<T> Times(Spectral<T> a, Spectral<T> b) {
  return {hn::NegMulAdd(a.im, b.im, hn::Mul(a.re, b.re)), hn::MulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}
template <class T>
HWY_INLINE Spectral<T> Scaled(Spectral<T> a, T factor) {
  const auto f = hn::Set(FftLanes<T>(), factor);
  return {hn::Mul(a.re, f), hn::Mul(a.im, f)};
}
// w[0] + i w[1] in all lanes
template <class T>
HWY_INLINE Spectral<T> Broadcast(const T* w) {
  const FftLanes<T> d;
  return {hn::Set(d, w[0]), hn::Set(d, w[1])};
}
template <class T>
HWY_INLINE Spectral<T> Turned(Spectral<T> a, const T* w) {
  return Times(a, Broadcast(w));
}

// x[k] = sum_j e^(-2 pi i j k / R) x[j], in place
template <class T>
HWY_INLINE void Butterfly2(Spectral<T>& a, Spectral<T>& b) {
  const auto difference = a - b;
  a = a + b;
  b = difference;
}

template <class T>
HWY_INLINE void Butterfly4(Spectral<T>& x0, Spectral<T>& x1, Spectral<T>& x2, Spectral<T>& x3) {
  Butterfly2(x0, x2);
  Butterfly2(x1, x3);
  const auto turned = TimesMinusI(x3);
  const auto second = x2;
  Butterfly2(x0, x1);  // X0, X2
  x3 = second - turned;
  x2 = x1;
  x1 = second + turned;
}

template <int R, class T>
HWY_INLINE void Butterfly(Spectral<T>* x) {
  const FftLanes<T> d;
  if constexpr (R == 2) {
    Butterfly2(x[0], x[1]);
  } else if constexpr (R == 3) {
    const auto sum = x[1] + x[2];
    const auto turned = TimesMinusI(Scaled(x[1] - x[2], static_cast<T>(0.866025403784438646764)));  // sin(2 pi / 3)
    const auto half = hn::Set(d, T(0.5));
    const Spectral<T> middle = {hn::NegMulAdd(sum.re, half, x[0].re), hn::NegMulAdd(sum.im, half, x[0].im)};
    x[0] = x[0] + sum;
    x[1] = middle + turned;
    x[2] = middle - turned;
  } else if constexpr (R == 4) {
    Butterfly4(x[0], x[1], x[2], x[3]);
  } else if constexpr (R == 5) {
    constexpr T kCos1 = static_cast<T>(0.309016994374947424102), kCos2 = static_cast<T>(-0.809016994374947424102);
    constexpr T kSin1 = static_cast<T>(0.951056516295153572116), kSin2 = static_cast<T>(0.587785252292473129169);
    const auto sum1 = x[1] + x[4], sum2 = x[2] + x[3], first = x[1] - x[4], second = x[2] - x[3];
    const auto middle1 = x[0] + Scaled(sum1, kCos1) + Scaled(sum2, kCos2);
    const auto middle2 = x[0] + Scaled(sum1, kCos2) + Scaled(sum2, kCos1);
    const auto turned1 = TimesMinusI(Scaled(first, kSin1) + Scaled(second, kSin2));
    const auto turned2 = TimesMinusI(Scaled(first, kSin2) - Scaled(second, kSin1));
    x[0] = x[0] + sum1 + sum2;
    x[1] = middle1 + turned1;
    x[2] = middle2 + turned2;
    x[3] = middle2 - turned2;
    x[4] = middle1 - turned1;
  } else {
    static_assert(R == 8);
    Butterfly4(x[0], x[2], x[4], x[6]);  // of the even ones: E0 E1 E2 E3 in x[0], x[2], x[4], x[6]
    Butterfly4(x[1], x[3], x[5], x[7]);
    const auto eighth = hn::Set(d, static_cast<T>(0.707106781186547524401));
    const Spectral<T> odd1 = {hn::Mul(hn::Add(x[3].re, x[3].im), eighth), hn::Mul(hn::Sub(x[3].im, x[3].re), eighth)};
    const Spectral<T> odd2 = TimesMinusI(x[5]);
    const Spectral<T> odd3 = {hn::Mul(hn::Sub(x[7].im, x[7].re), eighth),
                              hn::Neg(hn::Mul(hn::Add(x[7].re, x[7].im), eighth))};
    const auto even0 = x[0], even1 = x[2], even2 = x[4], even3 = x[6], odd0 = x[1];
    x[0] = even0 + odd0;
    x[1] = even1 + odd1;
    x[2] = even2 + odd2;
    x[3] = even3 + odd3;
    x[4] = even0 - odd0;
    x[5] = even1 - odd1;
    x[6] = even2 - odd2;
    x[7] = even3 - odd3;
  }
}

// Rows of a panel: number e has its real parts at re + e * step and its imaginary parts `im` behind (or, when a panel
// is read with both exchanged, before) them.
template <class T>
struct FftRows {
  T* re;
  Index im;
  Index step;

  HWY_INLINE Spectral<T> Load(Index e) const {
    const T* at = re + e * step;
    return {hn::Load(FftLanes<T>(), at), hn::Load(FftLanes<T>(), at + im)};
  }
  HWY_INLINE void Store(Spectral<T> v, Index e) const {
    T* at = re + e * step;
    hn::Store(v.re, FftLanes<T>(), at);
    hn::Store(v.im, FftLanes<T>(), at + im);
  }
  FftRows From(Index e) const { return {re + e * step, im, step}; }
  FftRows Every(Index count) const { return {re, im, step * count}; }
  FftRows Exchanged() const { return {re + im, -im, step}; }  // i conj z in the place of z
};

// What the numbers of a transformed line are multiplied by as they are stored: nothing, or number e by the root of
// unity at e * step.
struct FftPlain {
  template <class T>
  HWY_INLINE Spectral<T> operator()(Spectral<T> x, Index /*e*/) const {
    return x;
  }
};
template <class T>
struct FftTurns {
  const T *re, *im;
  Index step;

  HWY_INLINE Spectral<T> operator()(Spectral<T> x, Index e) const {
    const FftLanes<T> d;
    return Times(x, Spectral<T>{hn::Set(d, re[e * step]), hn::Set(d, im[e * step])});
  }
};

// `stride` butterflies side by side, of numbers `apart`; by(number k of a butterfly, k, where it is stored).
template <int R, class T, class By>
HWY_INLINE void Butterflies(FftRows<T> in, Index apart, FftRows<T> out, Index stride, const By& by) {
  for (Index q = 0; q < stride; ++q) {
    Spectral<T> x[R];
    for (int j = 0; j < R; ++j) x[j] = in.Load(q + apart * j);
    Butterfly<R>(x);
    for (int k = 0; k < R; ++k) out.Store(by(x[k], k, q + stride * k), q + stride * k);
  }
}

// One stage. `last` is for the one after which the numbers of the line stand in their order, and rest is 1.
template <int R, class T, class Last>
void Sweep(const cpu::FftStage& stage, const T* turns, FftRows<T> in, FftRows<T> out, const Last& last) {
  const Index rest = stage.rest, stride = stage.stride;
  Butterflies<R>(in, stride * rest, out, stride, [&](Spectral<T> x, int, Index e) HWY_ATTR { return last(x, e); });
  for (Index p = 1; p < rest; ++p) {
    const T* w = turns + 2 * (R - 1) * p;
    Butterflies<R>(in.From(stride * p), stride * rest, out.From(stride * R * p), stride,
                   [&](Spectral<T> x, int k, Index) HWY_ATTR { return k == 0 ? x : Turned(x, w + 2 * (k - 1)); });
  }
}

// Transforms a line from `in` to `out`, which may be the same rows, with two buffers for what lies between. `in` may be
// the first buffer. A line of length 1 is copied. `last` is put to each number and its place as it is stored.
template <class T, class Last = FftPlain>
void TransformLine(const cpu::FftLine<T>& line, FftRows<T> in, FftRows<T> first, FftRows<T> second, FftRows<T> out,
                   const Last& last = {}) {
  const std::size_t count = line.stages.size();
  if (count == 0) out.Store(last(in.Load(0), 0), 0);
  const auto sweep = [&](const cpu::FftStage& stage, FftRows<T> to, const auto& by) HWY_ATTR {
    const T* turns = line.turns.data() + stage.turns;
    switch (stage.radix) {
      case 2: return Sweep<2>(stage, turns, in, to, by);
      case 3: return Sweep<3>(stage, turns, in, to, by);
      case 4: return Sweep<4>(stage, turns, in, to, by);
      case 5: return Sweep<5>(stage, turns, in, to, by);
      default: return Sweep<8>(stage, turns, in, to, by);
    }
  };
  for (std::size_t i = 0; i + 1 < count; ++i) {
    const FftRows<T> to = i % 2 == 0 ? second : first;
    sweep(line.stages[i], to, FftPlain());
    in = to;
  }
  if (count > 0) sweep(line.stages[count - 1], out, last);
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
