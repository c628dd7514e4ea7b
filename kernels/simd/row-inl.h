// A row of any length, one vector at a time. Include inside the per-target part of a kernel (after targets.h and
// hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_ROW_INL_H_
#undef SUBQUAD_KERNELS_SIMD_ROW_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_ROW_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The two ways to touch memory in a row: a whole vector, and the first lanes of the last one. Lanes that are not there
// read as 0 or as `other`.
template <class D>
struct WholeVector {
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;
  HWY_INLINE V Load(const T* from) const { return hn::LoadU(D(), from); }
  HWY_INLINE V Load(const T* from, V) const { return hn::LoadU(D(), from); }
  HWY_INLINE V OrZero(V v) const { return v; }
  HWY_INLINE void Store(V v, T* to) const { hn::StoreU(v, D(), to); }
};

template <class D>
struct PartVector {
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;
  hn::Mask<D> there;
  HWY_INLINE V Load(const T* from) const { return hn::MaskedLoad(there, D(), from); }
  HWY_INLINE V Load(const T* from, V other) const { return hn::IfThenElse(there, Load(from), other); }
  HWY_INLINE V OrZero(V v) const { return hn::IfThenElseZero(there, v); }
  HWY_INLINE void Store(V v, T* to) const { hn::BlendedStore(v, there, D(), to); }
};

// f(i, lanes) for i = 0, L, 2 L, ... below `width`, where `lanes` is a WholeVector or, at the end, a PartVector.
template <class D, class F>
HWY_INLINE void ForVectors(D d, Index width, const F& f) {
  constexpr Index kLanes = hn::MaxLanes(d);
  Index i = 0;
  for (; i + kLanes <= width; i += kLanes) f(i, WholeVector<D>());
  if constexpr (kLanes > 1)
    if (i < width) f(i, PartVector<D>{hn::FirstN(d, static_cast<std::size_t>(width - i))});
}

// Neighbouring vectors of a row that are worked on together: so many whole ones, or one that may be a part.
template <int kCount, class Lanes>
struct VectorStrip {
  static constexpr int kVectors = kCount;
  using T = typename Lanes::T;
  using V = typename Lanes::V;
  Lanes lanes;
  HWY_INLINE V Load(const T* from, Index v) const { return lanes.Load(from + v * kLanes); }
  HWY_INLINE V OrZero(V v) const { return lanes.OrZero(v); }
  HWY_INLINE void Store(V value, T* to, Index v) const { lanes.Store(value, to + v * kLanes); }

 private:
  static constexpr Index kLanes = hn::MaxLanes(hn::DFromV<V>());
};

// f(i, strip) for the columns i where strips begin: of four vectors as long as there are so many, then of one. For
// kernels that keep what belongs to a column in registers while they go through rows.
template <class D, class F>
HWY_INLINE void ForStrips(D d, Index width, const F& f) {
  constexpr Index kLanes = hn::MaxLanes(d);
  constexpr int kVectors = 4;
  Index first = 0;
  for (; first + kVectors * kLanes <= width; first += kVectors * kLanes)
    f(first, VectorStrip<kVectors, WholeVector<D>>());
  ForVectors(d, width - first,
             [&](Index i, auto lanes) HWY_ATTR { f(first + i, VectorStrip<1, decltype(lanes)>{lanes}); });
}

template <class D>
HWY_INLINE hn::TFromD<D> SumLanes(D d, hn::Vec<D> v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}

// f(row) for every row, some 4096 elements to a task: a task is a call from code compiled for the baseline. `work`
// counts operations per element.
template <class F>
void ForRows(Index rows, Index width, Index work, const F& f) {
  parallel_chunks(rows, std::max<Index>(1, 4096 / std::max<Index>(width, 1)), std::max<Index>(width, 1) * work,
                  [&](Index begin, Index end) HWY_ATTR {
                    for (Index row = begin; row < end; ++row) f(row);
                  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
