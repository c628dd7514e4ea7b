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

// Where kCount vectors of z >= 0 stand among the pieces of a function: at t of a piece. Several go side by side, or
// each of their steps would wait for the last one in the processor's queues.
template <int kCount, class D, int kDegree>
struct PlacesAmongPieces {
  using V = hn::Vec<D>;
  using Lookup = decltype(hn::IndicesFromVec(D(), hn::Zero(hn::RebindToSigned<D>())));

  const simd::HalvedPieces<kDegree>& pieces;
  V t[kCount];
  Lookup index[kCount];

  HWY_INLINE PlacesAmongPieces(D d, const V* z, const simd::HalvedPieces<kDegree>& p) : pieces(p) {
    const hn::RebindToSigned<D> di;
    const auto to_place = hn::Set(d, 1 / pieces.step), most = hn::Set(d, 15 * pieces.step);
    const auto round = hn::Set(d, 0x1.8p23f);  // a sum with it holds the nearest integer in its low bits
    V rounded[kCount];
    for (int i = 0; i < kCount; ++i) t[i] = hn::Min(most, z[i]);  // in this order a NaN is kept
    for (int i = 0; i < kCount; ++i) rounded[i] = hn::MulAdd(t[i], to_place, round);
    for (int i = 0; i < kCount; ++i) {
      index[i] = hn::IndicesFromVec(d, hn::And(hn::BitCast(di, rounded[i]), hn::Set(di, 15)));
      t[i] = hn::MulSub(t[i], to_place, hn::Sub(rounded[i], round));
    }
  }

  HWY_INLINE V row(int k, int i) const { return hn::TableLookupLanes(hn::Load(D(), pieces.row[k]), index[i]); }
};

// F(z) of an odd function F with the limits -1/2 and 1/2, for z >= 0: absolute error that of the table.
template <int kCount, class D, int kDegree>
HWY_INLINE void PiecesOfEach(D d, const hn::Vec<D>* z, const simd::HalvedPieces<kDegree>& pieces, hn::Vec<D>* p) {
  const PlacesAmongPieces<kCount, D, kDegree> places(d, z, pieces);
  for (int i = 0; i < kCount; ++i) p[i] = places.row(kDegree, i);
  for (int k = kDegree - 1; k >= 0; --k)
    for (int i = 0; i < kCount; ++i) p[i] = hn::MulAdd(p[i], places.t[i], places.row(k, i));
}

// 1/2 + F(z) for any z: 7e-8 of roundings more.
template <class D, int kDegree>
HWY_INLINE hn::Vec<D> HalfAndPieces(D d, hn::Vec<D> z, const simd::HalvedPieces<kDegree>& pieces) {
  const auto size = hn::Abs(z);
  hn::Vec<D> p;
  PiecesOfEach<1>(d, &size, pieces, &p);
  return hn::Add(hn::CopySignToAbs(p, z), hn::Set(d, 0.5f));
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

// gelu(z) = z cdf(z), for finite z, of kCount vectors.
template <int kCount, class D>
HWY_INLINE void GeluOfEach(D d, const hn::Vec<D>* z, hn::Vec<D>* gelu) {
  if constexpr (kLooksUp<D>) {  // cdf - 1/2 is odd, so that z times it is even
    hn::Vec<D> size[kCount], p[kCount];
    for (int i = 0; i < kCount; ++i) size[i] = hn::Abs(z[i]);
    PiecesOfEach<kCount>(d, size, simd::kNormalCdf, p);
    for (int i = 0; i < kCount; ++i) gelu[i] = hn::MulAdd(p[i], size[i], hn::Mul(z[i], hn::Set(d, 0.5f)));
  } else {
    for (int i = 0; i < kCount; ++i) gelu[i] = hn::Mul(z[i], NormalCdf(d, z[i]));
  }
}
template <class D>
HWY_INLINE hn::Vec<D> Gelu(D d, hn::Vec<D> z) {
  hn::Vec<D> gelu;
  GeluOfEach<1>(d, &z, &gelu);
  return gelu;
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

// gelu(z) and gelu'(z), for finite z, of kCount vectors: cheaper than one after the other.
template <int kCount, class D>
HWY_INLINE void GeluAndSlopeOfEach(D d, const hn::Vec<D>* z, hn::Vec<D>* gelu, hn::Vec<D>* slope) {
  // With F = cdf - 1/2: z / 2 + z F, of which z F is even; 1/2 + F + z F', odd but for 1/2.
  if constexpr (kLooksUp<D>) {
    const simd::HalvedPieces<6>& pieces = simd::kNormalCdfAndSlope;
    const auto half = hn::Set(d, 0.5f), to_place = hn::Set(d, 1 / pieces.step);
    hn::Vec<D> size[kCount], p[kCount], dp[kCount];  // dp: step F', a step of Horner's behind F
    for (int i = 0; i < kCount; ++i) size[i] = hn::Abs(z[i]);
    const PlacesAmongPieces<kCount, D, 6> places(d, size, pieces);
    for (int i = 0; i < kCount; ++i) dp[i] = places.row(6, i);
    for (int i = 0; i < kCount; ++i) p[i] = hn::MulAdd(dp[i], places.t[i], places.row(5, i));
    for (int k = 4; k >= 0; --k)
      for (int i = 0; i < kCount; ++i) {
        dp[i] = hn::MulAdd(dp[i], places.t[i], p[i]);
        p[i] = hn::MulAdd(p[i], places.t[i], places.row(k, i));
      }
    for (int i = 0; i < kCount; ++i) {
      dp[i] = hn::MulAdd(size[i], hn::Mul(to_place, dp[i]), p[i]);  // 0 beyond the last piece, whatever the size
      gelu[i] = hn::MulAdd(p[i], size[i], hn::Mul(z[i], half));
      slope[i] = hn::Add(hn::CopySignToAbs(dp[i], z[i]), half);
    }
  } else {
    GeluOfEach<kCount>(d, z, gelu);
    for (int i = 0; i < kCount; ++i) slope[i] = GeluSlope(d, z[i]);
  }
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
