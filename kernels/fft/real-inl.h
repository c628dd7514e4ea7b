// Real signals of even length 2 h as complex ones of length h: x[2 j] + i x[2 j + 1]. So every signal stands alone: two
// of them packed into one complex signal would leave traces of the larger one in the smaller. Include inside the
// per-target part of a kernel (after targets.h and hwy/highway.h); the functions live in
// subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_FFT_REAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FFT_REAL_INL_H_
#undef SUBQUAD_KERNELS_FFT_REAL_INL_H_
#else
#define SUBQUAD_KERNELS_FFT_REAL_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/kernels/fft/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Numbers k and h - k of the spectrum of a real signal.
template <class T>
struct SpectralPair {
  Spectral<T> low, high;
};

// Twice the real signal's spectrum X from that of the packed signal, Z, with w = e^(-i pi k / h) and Z[h] = Z[0]:
//   even = Z[k] + conj Z[h - k]   odd = -i (Z[k] - conj Z[h - k])
//   2 X[k] = even + w odd         2 X[h - k] = conj(even - w odd)
template <class T>
HWY_INLINE SpectralPair<T> Unpacked(Spectral<T> z, Spectral<T> mirror, Spectral<T> w) {
  const auto even = z + Conjugate(mirror), odd = Times(TimesMinusI(z - Conjugate(mirror)), w);
  return {even + odd, Conjugate(even - odd)};
}

// 2 Z[k] and 2 Z[h - k] from X[k] and X[h - k]: the way back.
template <class T>
HWY_INLINE SpectralPair<T> Packed(SpectralPair<T> x, Spectral<T> w) {
  const auto even = x.low + Conjugate(x.high), odd = Times(x.low - Conjugate(x.high), Conjugate(w));
  const auto turned = TimesMinusI(odd);  // even + i odd = even - turned
  return {even - turned, Conjugate(even + turned)};
}

// Calls f(k, i, place of k, place of h - k, w) for k = 0 ... h / 2, where h stands at 0, and both places are the same
// at k = 0 and 2 k = h; i = k - first counts from the start of a piece of some neighbours, before which before(first,
// count) is called and after which after(first, count).
template <class T, class Before, class F, class After>
HWY_INLINE void ForPairs(const FftPanel<T>& panel, const Before& before, const F& f, const After& after) {
  const Index half = panel.plan().length;
  FftCursor low = panel.Spectrum(0), high = panel.Spectrum(half - 1);
  const T* w = panel.plan().half_turns.data();
  for (Index first = 0; 2 * first <= half; first += FftLines<T>::kColumns) {
    const Index count = std::min(FftLines<T>::kColumns, half / 2 + 1 - first);
    before(first, count);
    for (Index i = 0; i < count; ++i, low.Next()) {
      const Index k = first + i;
      f(k, i, low, k == 0 ? low : high, Broadcast(w + 2 * k));
      if (k > 0) high.Previous();
    }
    after(first, count);
  }
}

// Numbers k = run + outer k2, k2 < pairs, of a spectrum, and h - k = mirror + outer * Opposite(k2): both runs whole, or
// the one run that is its own mirror, where number 0 and, of even h, h / 2 are their own partners.
struct PairOfRuns {
  Index run, mirror, pairs, inner;

  bool IsOne() const { return run == mirror; }
  Index Opposite(Index k2) const { return run > 0 ? inner - 1 - k2 : k2 > 0 ? inner - k2 : 0; }
};

// The same pairs in the order of the panel, two runs at a time: f(PairOfRuns). For plans that are not padded.
template <class T, class F>
HWY_INLINE void ForPairsOfRuns(const cpu::FftPlan<T>& plan, const F& f) {
  const Index outer = plan.outer, inner = plan.inner;
  for (Index run = 0; 2 * run <= outer; ++run) {
    const Index mirror = run == 0 ? 0 : outer - run;
    f(PairOfRuns{run, mirror, run == 0 ? inner / 2 + 1 : mirror == run ? (inner + 1) / 2 : inner, inner});
  }
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
