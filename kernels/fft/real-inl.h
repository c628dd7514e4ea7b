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

// The same pairs in the order of the panel, two runs at a time: before(k1) for both runs, f(row of k, row of h - k, w)
// for their pairs, after(k1) for both. For plans that are not padded.
template <class T, class Before, class F, class After>
HWY_INLINE void ForPairsOfRuns(const cpu::FftPlan<T>& plan, const Before& before, const F& f, const After& after) {
  const Index outer = plan.outer, inner = plan.inner, pitch = plan.pitch();
  for (Index run = 0; 2 * run <= outer; ++run) {
    const Index mirror = run == 0 ? 0 : outer - run;
    before(run);
    if (mirror != run) before(mirror);
    const Spectral<T> first = Broadcast(plan.half_turns.data() + 2 * run);
    const Index pairs = run == 0 ? inner / 2 + 1 : mirror == run ? (inner + 1) / 2 : inner;
    for (Index k2 = 0; k2 < pairs; ++k2) {
      const Index opposite = run > 0 ? inner - 1 - k2 : k2 > 0 ? inner - k2 : 0;
      f(run * pitch + k2, mirror * pitch + opposite, Times(first, Broadcast(plan.run_half_turns.data() + 2 * k2)));
    }
    after(run);
    if (mirror != run) after(mirror);
  }
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
