// Products of the spectra of real sequences whose indices run modulo any n, lane by lane. Include inside the per-target
// part of a kernel (after targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
//
// Transforms have an even smooth length M, n itself or a padded one >= 2 n - 1. Then the one sequence is followed by
// zeros and the other is continued periodically, where its products with the first are looked for: no number of the
// result is folded together from two.
#if defined(SUBQUAD_KERNELS_CIRCULAR_CYCLIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_CIRCULAR_CYCLIC_INL_H_
#undef SUBQUAD_KERNELS_CIRCULAR_CYCLIC_INL_H_
#else
#define SUBQUAD_KERNELS_CIRCULAR_CYCLIC_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/core/parallel.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/fft/lanes-inl.h"
#include "subquad/kernels/fft/real-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The plan of packed real transforms for sequences of length n >= 1.
template <class T>
std::shared_ptr<const cpu::FftPlan<T>> CyclicPlan(Index n) {
  const bool own = n % 2 == 0 && cpu::is_smooth(n);
  return cpu::fft_plan<T>((own ? n : cpu::padded_length(2 * n - 1)) / 2);
}

// What stands behind the n numbers of a sequence, up to the transform's length M.
enum class Continued {
  by_zeros,
  ahead,   // numbers n ... 2 n - 2 are 0 ... n - 2 again, for b[i + t]
  behind,  // numbers M - n + 1 ... M - 1 stand for -(n - 1) ... -1, for b[j - i]
};

// The spectrum of the sequence value(0), ..., value(n - 1), left in the panel.
template <class T, class Value>
void CyclicForward(FftPanel<T>& panel, Index n, Continued how, const Value& value) {
  const Index length = 2 * panel.plan().length;
  const auto number = [&](Index j) HWY_ATTR {
    if (j < n) return value(j);
    if (how == Continued::ahead && j < 2 * n - 1) return value(j - n);
    if (how == Continued::behind && j > length - n) return value(j - length + n);
    return hn::Zero(FftLanes<T>());
  };
  panel.Forward([&](Index e) HWY_ATTR { return Spectral<T>{number(2 * e), number(2 * e + 1)}; });
}

// target(j, numbers) for j < n: the sequence whose spectrum stands in the panel, times `scale`.
template <class T, class Target>
void CyclicBackward(FftPanel<T>& panel, Index n, T scale, const Target& target) {
  const auto factor = hn::Set(FftLanes<T>(), scale);
  panel.Backward([&](Index e, Spectral<T> x) HWY_ATTR {
    if (2 * e < n) target(2 * e, hn::Mul(x.re, factor));
    if (2 * e + 1 < n) target(2 * e + 1, hn::Mul(x.im, factor));
  });
}

// What a product of two spectra is too large by, after CyclicBackward: two factors of 2 from Unpacked, one from Packed,
// and the inverse transform's M / 2.
template <class T>
T CyclicScale(const FftPanel<T>& panel) {
  return 1 / static_cast<T>(8 * panel.plan().length);
}

template <class T>
HWY_INLINE SpectralPair<T> Product(SpectralPair<T> a, SpectralPair<T> b) {
  return {Times(a.low, b.low), Times(a.high, b.high)};
}
template <class T>
HWY_INLINE SpectralPair<T> Conjugate(SpectralPair<T> a) {
  return {Conjugate(a.low), Conjugate(a.high)};
}

// Numbers k and h - k of the spectrum in a panel, and the same put back.
template <class T>
HWY_INLINE SpectralPair<T> LoadPair(const FftPanel<T>& panel, const FftCursor& low, const FftCursor& high, const T* w) {
  return Unpacked(panel.Load(low), panel.Load(high), w);
}
template <class T>
HWY_INLINE void StorePair(SpectralPair<T> x, FftPanel<T>& panel, const FftCursor& low, const FftCursor& high,
                          const T* w) {
  const SpectralPair<T> z = Packed(x, w);
  panel.Store(z.low, low);
  panel.Store(z.high, high);
}

// The lanes of one vector of features of one sample, and the sample's length.
template <class T>
struct CyclicTask {
  FftRow<T> row;
  Index base, n, positions;  // base: where the sample starts

  HWY_INLINE hn::Vec<FftLanes<T>> Load(const T* x, Index j) const { return row.Load(x + base, j); }
  HWY_INLINE void Store(hn::Vec<FftLanes<T>> v, T* x, Index j) const { row.Store(v, x + base, j); }
  void ZeroFrom(Index first, T* x) const {
    for (Index j = first; j < positions; ++j) Store(hn::Zero(FftLanes<T>()), x, j);
  }
};

// f(task) for every sample and vector of features of tensors like x [B, N, D].
template <class T, class F>
void ForCyclicTasks(const Tensor& x, const Mask& mask, const F& f) {
  const Index positions = x.dim(1), width = x.dim(2);
  const FftSignals<T> signals = {1, width};
  const Index vectors = signals.Vectors();
  parallel_for(x.dim(0) * vectors, 400 * positions, [&](Index number) HWY_ATTR {
    const Index b = number / vectors;
    f(CyclicTask<T>{FftRow<T>(signals, number % vectors, positions), b * positions * width,
                    prefix_length(mask, b, positions), positions});
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
