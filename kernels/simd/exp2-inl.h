// 2^x in registers, for kernels that want an exponential between two products. Include inside the per-target part of a
// kernel (after targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_EXP2_INL_H_
#undef SUBQUAD_KERNELS_SIMD_EXP2_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_EXP2_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x = n + f with n an integer and |f| <= 1/2; 2^f is a minimax polynomial with p(0) = 1, so that 2^n is exact.
//
//   float32: degree 5, relative error 1.7e-7      float64: degree 11, 4e-16      (both with their roundings)
//
// For x <= 127 (1023). Below -126 (-1022) the result goes to exactly 0, -inf included; a NaN stays a NaN.
//
// Of several vectors in place, step by step: each step waits for the one before it, and a processor finds work between
// them sooner side by side than in vectors to come.
template <int kCount, class D>
HWY_INLINE void Exp2OfEach(D d, hn::Vec<D>* x) {
  using T = hn::TFromD<D>;
  const hn::RebindToUnsigned<D> du;
  constexpr bool kSingle = std::is_same_v<T, float>;
  constexpr int kMantissa = kSingle ? 23 : 52;
  constexpr T kBias = kSingle ? 127 : 1023;
  // Adding 3 * 2^(mantissa - 1) rounds to an integer that then stands in the low bits; with the exponent's bias on top
  // of it, those bits shifted up are 2^n.
  constexpr T kMagic = (kSingle ? T(0x1.8p23) : T(0x1.8p52)) + kBias;
  const auto lowest = hn::Set(d, -kBias);
  hn::Vec<D> power[kCount], p[kCount];
  const auto each = [](const auto& f) HWY_ATTR {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) f(i);
  };
  each([&](int i) HWY_ATTR {
    if constexpr (HWY_TARGET == HWY_SCALAR)
      x[i] = hn::IfThenElse(hn::Lt(x[i], lowest), lowest, x[i]);  // the scalar Max drops a NaN
    else
      x[i] = hn::Max(lowest, x[i]);  // in this order the processor's max keeps a NaN
  });
  each([&](int i) HWY_ATTR { power[i] = hn::Add(x[i], hn::Set(d, kMagic)); });
  each([&](int i) HWY_ATTR { x[i] = hn::Sub(x[i], hn::Sub(power[i], hn::Set(d, kMagic))); });  // f
  each([&](int i) HWY_ATTR { power[i] = hn::BitCast(d, hn::ShiftLeft<kMantissa>(hn::BitCast(du, power[i]))); });
  const auto step = [&](double coefficient) HWY_ATTR {
    each([&](int i) HWY_ATTR { p[i] = hn::MulAdd(p[i], x[i], hn::Set(d, T(coefficient))); });
  };
  if constexpr (kSingle) {
    each([&](int i) HWY_ATTR { p[i] = hn::Set(d, T(0x1.5bba14p-10)); });
    step(0x1.3cea88p-7);
    step(0x1.c6b752p-5);
    step(0x1.ebf9bcp-3);
    step(0x1.62e42ap-1);
  } else {
    each([&](int i) HWY_ATTR { p[i] = hn::Set(d, T(0x1.c0638527edf34p-32)); });
    step(0x1.e605f979c7a5dp-28);
    step(0x1.b54167a0b9061p-24);
    step(0x1.62bfd49ed0adfp-20);
    step(0x1.ffcbee3b0af8cp-17);
    step(0x1.4309130961163p-13);
    step(0x1.5d87fe7bbbe07p-10);
    step(0x1.3b2ab6fba1e1cp-7);
    step(0x1.c6b08d7048f31p-5);
    step(0x1.ebfbdff82c598p-3);
    step(0x1.62e42fefa39f3p-1);
  }
  step(1);
  each([&](int i) HWY_ATTR { x[i] = hn::Mul(p[i], power[i]); });
}

template <class D>
HWY_INLINE hn::Vec<D> Exp2(D d, hn::Vec<D> x) {
  Exp2OfEach<1>(d, &x);
  return x;
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
