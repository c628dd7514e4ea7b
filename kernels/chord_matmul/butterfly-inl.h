// The factor of the classical butterfly, which mixes rows in pairs: both rows of a pair are read once for both results,
// and backward once for all six. Include inside the per-target part of a kernel (after targets.h and hwy/highway.h);
// everything lives in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_CHORD_MATMUL_BUTTERFLY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_CHORD_MATMUL_BUTTERFLY_INL_H_
#undef SUBQUAD_KERNELS_CHORD_MATMUL_BUTTERFLY_INL_H_
#else
#define SUBQUAD_KERNELS_CHORD_MATMUL_BUTTERFLY_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>

#include "subquad/kernels/chord_matmul/links.h"
#include "subquad/kernels/chord_matmul/rows-inl.h"
#include "subquad/kernels/simd/lane_sums-inl.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// The rows i and i + distance of n rows, where i lacks the bit `distance`; i is alone where its partner is beyond n.
struct Pairs {
  Index distance, n;

  // distance 0: these links do not pair rows
  Pairs(const Links& links, Index rows) : distance(0), n(rows) {
    if (links.rule == LinkRule::flip && links.count() == 2 && links.offsets[0] == 0 &&
        std::has_single_bit(static_cast<std::uint64_t>(links.offsets[1])))
      distance = links.offsets[1];
  }

  Index count() const { return n / (2 * distance) * distance + std::min(n % (2 * distance), distance); }
  Index row(Index pair) const { return 2 * pair - (pair & (distance - 1)); }
};

// to[i] = start[i] + weight(i, 0) from[i] + weight(i, 1) from[i XOR distance]; no start is 0.
template <class T>
struct Mixing {
  const T* weights;  // two for each row
  const T* from;
  const T* start;
  Destination<T> to;
  Index width;

  template <class Strip, class V>
  HWY_INLINE void Start(const Strip& strip, Index at, V* sum) const {
    for (int v = 0; v < Strip::kVectors; ++v)
      sum[v] = start != nullptr ? strip.Load(start + at, v) : hn::Zero(hn::DFromV<V>());
  }
  template <class Strip, class V>
  HWY_INLINE void Store(const Strip& strip, Index at, const V* sum) const {
    constexpr Index kLanes = hn::MaxLanes(hn::DFromV<V>());
    for (int v = 0; v < Strip::kVectors; ++v) to.Store(strip.lanes, sum[v], at + v * kLanes);
  }
};

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void MixPair(D d, const Mixing<T>& m, Index i, Index partner) {
  const auto own_i = hn::Set(d, m.weights[2 * i]), other_i = hn::Set(d, m.weights[2 * i + 1]);
  const auto own_p = hn::Set(d, m.weights[2 * partner]), other_p = hn::Set(d, m.weights[2 * partner + 1]);
  ForStrips(d, m.width, [&](Index c, auto strip) HWY_ATTR {
    constexpr int kVectors = decltype(strip)::kVectors;
    const Index at_i = i * m.width + c, at_p = partner * m.width + c;
    hn::Vec<D> sum_i[kVectors], sum_p[kVectors];
    m.Start(strip, at_i, sum_i);
    m.Start(strip, at_p, sum_p);
    for (int v = 0; v < kVectors; ++v) {
      const auto row_i = strip.Load(m.from + at_i, v), row_p = strip.Load(m.from + at_p, v);
      sum_i[v] = hn::MulAdd(other_i, row_p, hn::MulAdd(own_i, row_i, sum_i[v]));
      sum_p[v] = hn::MulAdd(other_p, row_i, hn::MulAdd(own_p, row_p, sum_p[v]));
    }
    m.Store(strip, at_i, sum_i);
    m.Store(strip, at_p, sum_p);
  });
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void MixAlone(D d, const Mixing<T>& m, Index i) {
  const auto own = hn::Set(d, m.weights[2 * i]);
  ForStrips(d, m.width, [&](Index c, auto strip) HWY_ATTR {
    constexpr int kVectors = decltype(strip)::kVectors;
    hn::Vec<D> sum[kVectors];
    m.Start(strip, i * m.width + c, sum);
    for (int v = 0; v < kVectors; ++v) sum[v] = hn::MulAdd(own, strip.Load(m.from + i * m.width + c, v), sum[v]);
    m.Store(strip, i * m.width + c, sum);
  });
}

// Pairs [begin, end).
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void MixPairs(D d, const Mixing<T>& m, const Pairs& pairs, Index begin, Index end) {
  for (Index pair = begin; pair < end; ++pair) {
    const Index i = pairs.row(pair), partner = i + pairs.distance;
    if (partner < pairs.n)
      MixPair(d, m, i, partner);
    else
      MixAlone(d, m, i);
  }
}

// The way back. Here `from` is the gradient of the result, `to` that of the values, and weight (i, 1) leads to i from
// its partner:
//   dweight(i, 0) = from[i] . values[i]      dweight(i, 1) = from[i] . values[i XOR distance]
template <class T>
struct Unmixing {
  Mixing<T> mixing;
  const T* values;
  T* dweights;
};

// Pairs whose four products fill a vector, or more.
template <class T>
inline constexpr Index kBlocksOfPair = 4 / kPerBlock<T>;
template <class T>
inline constexpr Index kPairsTogether = std::max<Index>(1, kBlocksOf<T> / kBlocksOfPair<T>);

// One strip of a pair; `inside` gets the sums over blocks of its four products, (i, 0), (i, 1), (p, 0), (p, 1).
template <class Strip, class D, class T = hn::TFromD<D>>
HWY_INLINE void UnmixStrip(D d, const Strip& strip, const Unmixing<T>& u, Index i, Index partner, Index c,
                           hn::Vec<D>* inside) {
  const Mixing<T>& m = u.mixing;
  const auto own_i = hn::Set(d, m.weights[2 * i]), other_i = hn::Set(d, m.weights[2 * i + 1]);
  const auto own_p = hn::Set(d, m.weights[2 * partner]), other_p = hn::Set(d, m.weights[2 * partner + 1]);
  const Index at_i = i * m.width + c, at_p = partner * m.width + c;
  hn::Vec<D> sum_i[Strip::kVectors], sum_p[Strip::kVectors];
  m.Start(strip, at_i, sum_i);
  m.Start(strip, at_p, sum_p);
  hn::Vec<D> dot[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int v = 0; v < Strip::kVectors; ++v) {
    const auto up_i = strip.Load(m.from + at_i, v), up_p = strip.Load(m.from + at_p, v);
    const auto value_i = strip.Load(u.values + at_i, v), value_p = strip.Load(u.values + at_p, v);
    sum_i[v] = hn::MulAdd(other_p, up_p, hn::MulAdd(own_i, up_i, sum_i[v]));
    sum_p[v] = hn::MulAdd(other_i, up_i, hn::MulAdd(own_p, up_p, sum_p[v]));
    dot[0] = hn::MulAdd(up_i, value_i, dot[0]);
    dot[1] = hn::MulAdd(up_i, value_p, dot[1]);
    dot[2] = hn::MulAdd(up_p, value_p, dot[2]);
    dot[3] = hn::MulAdd(up_p, value_i, dot[3]);
  }
  m.Store(strip, at_i, sum_i);
  m.Store(strip, at_p, sum_p);
  for (Index g = 0; g < kBlocksOfPair<T>; ++g) inside[g] = AddInsideBlocks(d, dot + g * kPerBlock<T>);
}

// `count` pairs, at most kPairsTogether, whose first rows are `rows`.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void UnmixTogether(D d, const Unmixing<T>& u, const Index* rows, Index count, Index distance) {
  constexpr Index kBlocks = kPairsTogether<T> * kBlocksOfPair<T>;
  HWY_ALIGN T dots[kBlocks * kPerBlock<T>] = {};
  ForStrips(d, u.mixing.width, [&](Index c, auto strip) HWY_ATTR {
    hn::Vec<D> inside[kBlocks];
    for (Index q = 0; q < kPairsTogether<T>; ++q)
      if (q < count)
        UnmixStrip(d, strip, u, rows[q], rows[q] + distance, c, inside + q * kBlocksOfPair<T>);
      else
        for (Index g = 0; g < kBlocksOfPair<T>; ++g) inside[q * kBlocksOfPair<T> + g] = hn::Zero(d);
    for (Index g = 0; g < kBlocks; g += kBlocksOf<T>) {
      T* to = dots + g * kPerBlock<T>;
      hn::Store(hn::Add(hn::Load(d, to), AddBlocksOf(d, inside + g)), d, to);
    }
  });
  for (Index q = 0; q < count; ++q) {
    std::copy_n(dots + 4 * q, 2, u.dweights + 2 * rows[q]);
    std::copy_n(dots + 4 * q + 2, 2, u.dweights + 2 * (rows[q] + distance));
  }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void UnmixAlone(D d, const Unmixing<T>& u, Index i) {
  auto dot = hn::Zero(d);
  ForVectors(d, u.mixing.width, [&](Index c, auto lanes) HWY_ATTR {
    const Index at = i * u.mixing.width + c;
    dot = hn::MulAdd(lanes.Load(u.mixing.from + at), lanes.Load(u.values + at), dot);
  });
  MixAlone(d, u.mixing, i);
  u.dweights[2 * i] = SumLanes(d, dot);
  u.dweights[2 * i + 1] = 0;  // nobody returns along it
}

// Pairs [begin, end).
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void UnmixPairs(D d, const Unmixing<T>& u, const Pairs& pairs, Index begin, Index end) {
  Index rows[kPairsTogether<T>], waiting = 0;
  for (Index pair = begin; pair < end; ++pair) {
    const Index i = pairs.row(pair);
    if (i + pairs.distance >= pairs.n) {
      UnmixAlone(d, u, i);
      continue;
    }
    rows[waiting++] = i;
    if (waiting < kPairsTogether<T>) continue;
    UnmixTogether(d, u, rows, kPairsTogether<T>, pairs.distance);
    waiting = 0;
  }
  if (waiting > 0) UnmixTogether(d, u, rows, waiting, pairs.distance);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
