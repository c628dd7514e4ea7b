// Sums (or maxima) over the lanes of as many vectors as a vector has lanes, at twice as many shuffles as vectors: what
// ends a dot product whose lanes are features. Include inside the per-target part of a kernel (after targets.h and
// hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_LANE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_LANE_SUMS_INL_H_
#undef SUBQUAD_KERNELS_SIMD_LANE_SUMS_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_LANE_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Blocks of 16 bytes in a vector of T.
template <class T>
inline constexpr Index kBlocksOf = static_cast<Index>(hn::MaxLanes(hn::ScalableTag<T>())) / kPerBlock<T>;

#if HWY_TARGET == HWY_SCALAR

template <class D, class F>
HWY_INLINE hn::Vec<D> FoldInsideBlocks(D /*d*/, const hn::Vec<D>* v, const F& /*fold*/) {
  return v[0];
}
template <class D, class F>
HWY_INLINE hn::Vec<D> FoldBlocksOf(D /*d*/, const hn::Vec<D>* v, const F& /*fold*/) {
  return v[0];
}

#else

// Of kPerBlock vectors: lane c of every block is what that block of v[c] folds to.
template <class D, class F>
HWY_INLINE hn::Vec<D> FoldInsideBlocks(D d, const hn::Vec<D>* v, const F& fold) {
  const auto a = fold(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
  if constexpr (kPerBlock<hn::TFromD<D>> == 2) {
    return a;
  } else {
    const hn::RepartitionToWide<D> pairs;
    const auto b = fold(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
    const auto lower = hn::InterleaveLower(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b));
    const auto upper = hn::InterleaveUpper(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b));
    return fold(hn::BitCast(d, lower), hn::BitCast(d, upper));
  }
}

template <class D, class F>
HWY_INLINE hn::Vec<D> FoldHalves(D d, hn::Vec<D> a, hn::Vec<D> b, const F& fold) {
  return fold(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
}

// Of kBlocksOf vectors: block g is the blocks of v[g] folded.
template <class D, class F>
HWY_INLINE hn::Vec<D> FoldBlocksOf(D d, const hn::Vec<D>* v, const F& fold) {
  constexpr Index kBlocks = kBlocksOf<hn::TFromD<D>>;
  static_assert(kBlocks == 2 || kBlocks == 4);
  if constexpr (kBlocks == 2) {
    return FoldHalves(d, v[0], v[1], fold);
  } else {
    const auto even = FoldHalves(d, v[0], v[2], fold), odd = FoldHalves(d, v[1], v[3], fold);
    return fold(hn::OddEvenBlocks(odd, even), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(even, odd)));
  }
}

#endif  // HWY_SCALAR

// Of as many vectors as lanes: lane r is what the lanes of v[r] fold to, in the same order for every r.
template <class D, class F>
HWY_INLINE hn::Vec<D> FoldLanesOf(D d, const hn::Vec<D>* v, const F& fold) {
  using T = hn::TFromD<D>;
  hn::Vec<D> inside[kBlocksOf<T>];
  for (Index g = 0; g < kBlocksOf<T>; ++g) inside[g] = FoldInsideBlocks(d, v + g * kPerBlock<T>, fold);
  return FoldBlocksOf(d, inside, fold);
}

struct Sum {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};
struct Largest {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Max(a, b);
  }
};

// The steps for sums: lane c of every block is the sum of that block of v[c]; block g is the sum of the blocks of v[g];
// lane r is the sum of v[r].
template <class D>
HWY_INLINE hn::Vec<D> AddInsideBlocks(D d, const hn::Vec<D>* v) {
  return FoldInsideBlocks(d, v, Sum());
}
template <class D>
HWY_INLINE hn::Vec<D> AddBlocksOf(D d, const hn::Vec<D>* v) {
  return FoldBlocksOf(d, v, Sum());
}
template <class D>
HWY_INLINE hn::Vec<D> AddLanesOf(D d, const hn::Vec<D>* v) {
  return FoldLanesOf(d, v, Sum());
}

// The same of vectors that stand one behind the other at `from`, aligned.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> AddLanesOfEach(D d, const T* from) {
  constexpr Index kLanes = hn::MaxLanes(D()), kTogether = kPerBlock<T>;
  hn::Vec<D> inside[kBlocksOf<T>];
  for (Index g = 0; g < kBlocksOf<T>; ++g) {
    hn::Vec<D> group[kTogether];
    for (Index r = 0; r < kTogether; ++r) group[r] = hn::Load(d, from + (g * kTogether + r) * kLanes);
    inside[g] = AddInsideBlocks(d, group);
  }
  return AddBlocksOf(d, inside);
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
