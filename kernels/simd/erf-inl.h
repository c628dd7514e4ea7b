// The error function and what GELU needs of it, in registers. Include inside the per-target part of a kernel (after
// targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_ERF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_ERF_INL_H_
#undef SUBQUAD_KERNELS_SIMD_ERF_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_ERF_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <numbers>
#include <type_traits>

#include "subquad/kernels/simd/exp2-inl.h"
#include "subquad/kernels/simd/gelu_pieces.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// erf(x). float32: x P(x^2) / Q(x^2), minimax on |x| <= 3.92 where erf reaches 1 - 3e-8, then cut off at +-1; relative
// error 3.3e-7 with its roundings. float64, and the scalar target: the C library's, lane by lane. A NaN stays a NaN.
template <class D>
HWY_INLINE hn::Vec<D> Erf(D d, hn::Vec<D> x) {
  using T = hn::TFromD<D>;
  if constexpr (HWY_TARGET == HWY_SCALAR || !std::is_same_v<T, float>) {
    HWY_ALIGN T lanes[hn::MaxLanes(d)];
    hn::Store(x, d, lanes);
    for (T& lane : lanes) lane = std::erf(lane);
    return hn::Load(d, lanes);
  } else {
    const auto u = hn::Min(hn::Mul(x, x), hn::Set(d, 15.3664f));
    auto p = hn::Set(d, 0x1.564226p-26f);
    p = hn::MulAdd(p, u, hn::Set(d, -0x1.06bc70p-19f));
    p = hn::MulAdd(p, u, hn::Set(d, 0x1.296812p-13f));
    p = hn::MulAdd(p, u, hn::Set(d, 0x1.e50626p-9f));
    p = hn::MulAdd(p, u, hn::Set(d, 0x1.9e44aep-5f));
    p = hn::MulAdd(p, u, hn::Set(d, 0x1.996500p-3f));
    p = hn::MulAdd(p, u, hn::Set(d, 0x1.20dd74p+0f));
    auto q = hn::Set(d, 0x1.f513c4p-11f);
    q = hn::MulAdd(q, u, hn::Set(d, 0x1.d64062p-7f));
    q = hn::MulAdd(q, u, hn::Set(d, 0x1.d6fda0p-4f));
    q = hn::MulAdd(q, u, hn::Set(d, 0x1.055eb4p-1f));
    q = hn::MulAdd(q, u, hn::Set(d, 1.0f));
    const auto ratio = hn::Div(hn::Mul(x, p), q);
    return hn::Max(hn::Set(d, -1.0f), hn::Min(hn::Set(d, 1.0f), ratio));  // in this order a NaN is kept
  }
}

// Where a register holds the coefficients of all pieces of a function, a lookup replaces divisions and exponentials.
template <class D>
inline constexpr bool kLooksUp = std::is_same_v<hn::TFromD<D>, float>&& hn::MaxLanes(D()) == 16;

// F(z) of an odd function F with the limits -1/2 and 1/2, for z >= 0: absolute error that of the table.
template <class D>
HWY_INLINE hn::Vec<D> Pieces(D d, hn::Vec<D> z, const simd::HalvedPieces& pieces) {
  const hn::RebindToSigned<D> di;
  const auto to_place = hn::Set(d, 1 / pieces.step);
  const auto round = hn::Set(d, 0x1.8p23f);  // a sum with it holds the nearest integer in its low bits
  const auto distance = hn::Min(hn::Set(d, 15 * pieces.step), z);  // in this order a NaN is kept
  const auto rounded = hn::MulAdd(distance, to_place, round);
  const auto index = hn::IndicesFromVec(d, hn::And(hn::BitCast(di, rounded), hn::Set(di, 15)));
  const auto t = hn::MulSub(distance, to_place, hn::Sub(rounded, round));
  const auto row = [&](int k) HWY_ATTR { return hn::TableLookupLanes(hn::Load(d, pieces.row[k]), index); };
  auto p = row(5);
  for (int k = 4; k >= 0; --k) p = hn::MulAdd(p, t, row(k));
  return p;
}

// 1/2 + F(z) for any z: 7e-8 of roundings more.
template <class D>
HWY_INLINE hn::Vec<D> HalfAndPieces(D d, hn::Vec<D> z, const simd::HalvedPieces& pieces) {
  return hn::Add(hn::CopySignToAbs(Pieces(d, hn::Abs(z), pieces), z), hn::Set(d, 0.5f));
}

// The distribution function of the standard normal: (1 + erf(z / sqrt 2)) / 2.
template <class D>
HWY_INLINE hn::Vec<D> NormalCdf(D d, hn::Vec<D> z) {
  using T = hn::TFromD<D>;
  if constexpr (kLooksUp<D>) {
    return HalfAndPieces(d, z, simd::kNormalCdf);
  } else {
    const auto half = hn::Set(d, T(0.5));
    return hn::MulAdd(half, Erf(d, hn::Mul(z, hn::Set(d, std::numbers::sqrt2_v<T> / 2))), half);
  }
}

// gelu(z) = z cdf(z), for finite z.
template <class D>
HWY_INLINE hn::Vec<D> Gelu(D d, hn::Vec<D> z) {
  if constexpr (kLooksUp<D>) {  // cdf - 1/2 is odd, so that z times it is even
    const auto size = hn::Abs(z);
    return hn::MulAdd(Pieces(d, size, simd::kNormalCdf), size, hn::Mul(z, hn::Set(d, 0.5f)));
  } else {
    return hn::Mul(z, NormalCdf(d, z));
  }
}

// gelu'(z) = cdf(z) + z exp(-z^2 / 2) / sqrt(2 pi), for finite z.
template <class D>
HWY_INLINE hn::Vec<D> GeluSlope(D d, hn::Vec<D> z) {
  using T = hn::TFromD<D>;
  if constexpr (kLooksUp<D>) {
    return HalfAndPieces(d, z, simd::kGeluSlope);
  } else {
    constexpr T kToPower = -std::numbers::log2e_v<T> / 2;
    constexpr T kDensity = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
    const auto bell = Exp2(d, hn::Mul(hn::Mul(z, hn::Set(d, kToPower)), z));
    return hn::MulAdd(hn::Mul(z, hn::Set(d, kDensity)), bell, NormalCdf(d, z));
  }
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
