// Transforms of signals whose numbers are neighbours in memory: lanes are numbers of one signal. Include inside the
// per-target part of a kernel (after targets.h and hwy/highway.h); the functions live in
// subquad::kernels::HWY_NAMESPACE.
//
// A smooth length n = outer * inner (cpu_plan.h) is a matrix x[a][c] whose columns c lie side by side: they are
// transformed by vectors of columns. The result y[k1][c] is transposed, square by square, so that runs k1 lie side by
// side, too, and so do the numbers X[k1 + outer k2] that come out. Little more than the signal is held, and a lone one
// fills the lanes as well as many. Each number goes through the same operations as in a panel (panel-inl.h):
// the results have the same bits.
#if defined(SUBQUAD_KERNELS_FFT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FFT_ROWS_INL_H_
#undef SUBQUAD_KERNELS_FFT_ROWS_INL_H_
#else
#define SUBQUAD_KERNELS_FFT_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/tensor.h"
#include "subquad/kernels/fft/lanes-inl.h"
#include "subquad/kernels/fft/real-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
constexpr Index RoundedToLanes(Index n) {
  return (n + kFftLanes<T> - 1) / kFftLanes<T> * kFftLanes<T>;
}

// The first `count` of a vector's lanes, from and to memory.
template <class T>
HWY_INLINE hn::Vec<FftLanes<T>> LoadFirst(const T* x, Index count) {
  const FftLanes<T> d;
  return count >= kFftLanes<T>
             ? hn::LoadU(d, x)
             : hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(std::max<Index>(count, 0))), d, x);
}
template <class T>
HWY_INLINE void StoreFirst(hn::Vec<FftLanes<T>> v, T* x, Index count) {
  const FftLanes<T> d;
  if (count >= kFftLanes<T>)
    hn::StoreU(v, d, x);
  else
    hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(std::max<Index>(count, 0))), d, x);
}

// `count` neighbouring complex numbers, (re, im) in memory; what lanes beyond them read is of no use.
template <class T>
HWY_INLINE Spectral<T> LoadComplexFirst(const T* x, Index count) {
  const FftLanes<T> d;
  Spectral<T> v;
  if (count == kFftLanes<T>) {
    hn::LoadInterleaved2(d, x, v.re, v.im);
    return v;
  }
#if HWY_TARGET != HWY_SCALAR
  if (2 * count == kFftLanes<T>) {
    const auto numbers = hn::LoadU(d, x);
    return {hn::ConcatEven(d, numbers, numbers), hn::ConcatOdd(d, numbers, numbers)};
  }
#endif
  HWY_ALIGN T both[2 * kFftLanes<T>];
  hn::Store(LoadFirst(x, 2 * count), d, both);
  hn::Store(LoadFirst(x + kFftLanes<T>, 2 * count - kFftLanes<T>), d, both + kFftLanes<T>);
  hn::LoadInterleaved2(d, both, v.re, v.im);
  return v;
}
template <class T>
HWY_INLINE void StoreComplexFirst(Spectral<T> v, T* x, Index count) {
  const FftLanes<T> d;
  if (count == kFftLanes<T>) return hn::StoreInterleaved2(v.re, v.im, d, x);
  HWY_ALIGN T both[2 * kFftLanes<T>];
  hn::StoreInterleaved2(v.re, v.im, d, both);
  StoreFirst(hn::Load(d, both), x, 2 * count);
  if (2 * count > kFftLanes<T>)
    StoreFirst(hn::Load(d, both + kFftLanes<T>), x + kFftLanes<T>, 2 * count - kFftLanes<T>);
}

template <class T>
class FftOfRow {
 public:
  explicit FftOfRow(const cpu::FftPlan<T>& plan)
      : plan_(plan),
        runs_(RoundedToLanes<T>(plan.outer)),
        together_(2 * plan.inner == kLanes ? 2 : 1),
        columns_(RoundedToLanes<T>(plan.inner)),
        longest_(std::max(runs_, columns_)),
        memory_(empty({2 * runs_ * columns_ + 2 * longest_ * kRow}, dtype_of<T>(), kCpu, "fft")),
        data_(memory_.data<T>()) {}

  // Is this the way for so many signals? Lanes that whole vectors of columns and of runs leave empty are lost; panels
  // lose those of signals that are not there. (Measured with 16 lanes: up to a half more is worth it.)
  static bool Fits(const cpu::FftPlan<T>& plan, Index signals) {
    if (kLanes == 1 || plan.padded || plan.outer == 1) return false;
    const Index inner = 2 * plan.inner == kLanes ? plan.inner : RoundedToLanes<T>(plan.inner);
    return 2 * RoundedToLanes<T>(plan.outer) * inner <= 3 * plan.length || signals < kLanes;
  }

  // Signals that are transformed at once: 2 where the columns of one fill half a vector.
  Index together() const { return together_; }

  // Transforms what source(i, j, count) gives, numbers j ... j + count - 1 of signal i in the first lanes, i <
  // together; target(i, k, count, x) takes those of the spectrum.
  template <class Source, class Target>
  void Forward(const Source& source, const Target& target) const {
    const Index outer = plan_.outer, inner = plan_.inner;
    const FftRows<T> line = Line(0), spare = Line(1);
    for (Index c = 0; c < inner; c += kLanes) {
      const FftRows<T> column = Columns(c);
      for (Index a = 0; a < outer; ++a) {
        const Spectral<T> x = source(0, inner * a + c, std::min(kLanes, inner - c));
        line.Store(together_ == 1 ? x : Joined(x, source(1, inner * a, inner)), a);
      }
      TransformLine(plan_.column, line, line, spare, line);
      for (Index k = 0; k < outer; ++k) column.Store(Times(line.Load(k), Turn(k, c)), k);
      ZeroRows(column, outer, runs_);
    }
    for (Index k = 0; k < outer; k += kLanes) {
      for (Index c = 0; c < inner; c += kLanes) Transpose(Columns(c).From(k), line.From(c));
      for (Index i = 0; i < together_; ++i) {
        const FftRows<T> run = line.From(i * inner);
        TransformLine(plan_.run, run, run, spare, run);
        for (Index k2 = 0; k2 < inner; ++k2) target(i, outer * k2 + k, std::min(kLanes, outer - k), run.Load(k2));
      }
    }
  }

  // The inverse, times n; between two exchanges of real and imaginary parts it is the same sum.
  template <class Source, class Target>
  void Backward(const Source& source, const Target& target) const {
    const Index outer = plan_.outer, inner = plan_.inner;
    const FftRows<T> line = Line(0), spare = Line(1);
    for (Index k = 0; k < outer; k += kLanes) {
      for (Index i = 0; i < together_; ++i) {
        const FftRows<T> run = line.From(i * inner);
        for (Index k2 = 0; k2 < inner; ++k2)
          run.Store(Exchanged(source(i, outer * k2 + k, std::min(kLanes, outer - k))), k2);
        TransformLine(plan_.run, run, run, spare, run);
      }
      ZeroRows(line, together_ * inner, columns_);
      for (Index c = 0; c < inner; c += kLanes) Transpose(line.From(c), Columns(c).From(k));
    }
    for (Index c = 0; c < inner; c += kLanes) {
      const FftRows<T> column = Columns(c);
      for (Index k = 0; k < outer; ++k) line.Store(Times(column.Load(k), Turn(k, c)), k);
      TransformLine(plan_.column, line, line, spare, line);
      for (Index a = 0; a < outer; ++a) {
        const Spectral<T> x = Exchanged(line.Load(a));
        target(0, inner * a + c, std::min(kLanes, inner - c), x);
        if (together_ > 1) target(1, inner * a, inner, SecondOf(x));
      }
    }
  }

 private:
  static constexpr Index kLanes = kFftLanes<T>, kRow = 2 * kLanes;

  static Spectral<T> Exchanged(Spectral<T> x) { return {x.im, x.re}; }
  // y[k1][c ... c + lanes - 1] in row k1
  FftRows<T> Columns(Index c) const { return {data_ + 2 * runs_ * c, kLanes, kRow}; }
  FftRows<T> Line(Index i) const { return {data_ + 2 * runs_ * columns_ + i * longest_ * kRow, kLanes, kRow}; }

  // Half vectors of two signals as one, and the second of them again.
#if HWY_TARGET == HWY_SCALAR
  static Spectral<T> Joined(Spectral<T> a, Spectral<T> /*b*/) {
    return a;
  }
  static Spectral<T> SecondOf(Spectral<T> x) {
    return x;
  }
#else
  static Spectral<T> Joined(Spectral<T> a, Spectral<T> b) {
    return {hn::ConcatLowerLower(FftLanes<T>(), b.re, a.re), hn::ConcatLowerLower(FftLanes<T>(), b.im, a.im)};
  }
  static Spectral<T> SecondOf(Spectral<T> x) {
    return {hn::ConcatUpperUpper(FftLanes<T>(), x.re, x.re), hn::ConcatUpperUpper(FftLanes<T>(), x.im, x.im)};
  }
#endif

  Spectral<T> Turn(Index k, Index c) const {
    const Index at = k * plan_.inner + c;
    const Spectral<T> w = {hn::LoadU(FftLanes<T>(), plan_.turns_re.data() + at),
                           hn::LoadU(FftLanes<T>(), plan_.turns_im.data() + at)};
    return together_ == 1 ? w : Joined(w, w);
  }
  static void ZeroRows(FftRows<T> rows, Index first, Index end) {
    const auto zero = hn::Zero(FftLanes<T>());
    for (Index e = first; e < end; ++e) rows.Store({zero, zero}, e);
  }
  static HWY_INLINE void Transpose(FftRows<T> from, FftRows<T> to) {
    for (const Index part : {Index{0}, kLanes}) {
      hn::Vec<FftLanes<T>> v[kLanes];
      for (Index e = 0; e < kLanes; ++e) v[e] = hn::Load(FftLanes<T>(), from.re + part + e * kRow);
      TransposeSquare<T>(v);
      for (Index e = 0; e < kLanes; ++e) hn::Store(v[e], FftLanes<T>(), to.re + part + e * kRow);
    }
  }

  const cpu::FftPlan<T>& plan_;
  Index runs_;      // outer, in whole vectors
  Index together_;  // signals at once
  Index columns_;   // inner of them all, in whole vectors
  Index longest_;   // the longer of runs_ and columns_
  Tensor memory_;
  T* data_;
};

// Spectra of packed real signals (real-inl.h), real parts and imaginary parts apart; number h stands for number 0.
// Pairs k, h - k are taken by whole vectors, the last of which may do again what the one before has done: a length that
// fits FftOfRow has more pairs than a vector has lanes.
template <class T>
class PackedSpectrum {
 public:
  explicit PackedSpectrum(const cpu::FftPlan<T>& plan)
      : plan_(plan),
        half_(plan.length),
        memory_(empty({2 * Pitch()}, dtype_of<T>(), kCpu, "fft")),
        re_(memory_.data<T>()),
        im_(re_ + Pitch()) {}

  Spectral<T> Load(Index k, Index count) const { return {LoadFirst(re_ + k, count), LoadFirst(im_ + k, count)}; }
  void Store(Spectral<T> z, Index k, Index count) const {
    StoreFirst(z.re, re_ + k, count);
    StoreFirst(z.im, im_ + k, count);
  }

  // The real signal's numbers k and h - k, k = 0 ... h / 2, times `scale` and, but for k = 0, `inside`.
  void Unpack(T scale, T inside, T* out) const {
    re_[half_] = re_[0];
    im_[half_] = im_[0];
    ForVectorsOfPairs([&](Index k, Index mirror, Spectral<T> root) HWY_ATTR {
      const auto factor = Factor(k, scale / 2, inside);
      const SpectralPair<T> x = Unpacked(Load(k, kLanes), Reversed(Load(mirror, kLanes)), root);
      StoreComplexFirst(Scaled(x.low, factor), out + 2 * k, kLanes);
      StoreComplexFirst(Reversed(Scaled(x.high, factor)), out + 2 * mirror, kLanes);
    });
  }

  // The way back, from numbers 0 ... h of a spectrum x.
  void Pack(T scale, T inside, const T* x) const {
    ForVectorsOfPairs([&](Index k, Index mirror, Spectral<T> root) HWY_ATTR {
      SpectralPair<T> pair = {LoadComplexFirst(x + 2 * k, kLanes), Reversed(LoadComplexFirst(x + 2 * mirror, kLanes))};
      if (k == 0) {
        const auto first = hn::FirstN(D(), 1);
        pair.low.im = hn::IfThenZeroElse(first, pair.low.im);
        pair.high.im = hn::IfThenZeroElse(first, pair.high.im);
      }
      const auto factor = Factor(k, scale, inside);
      pair = Packed(SpectralPair<T>{Scaled(pair.low, factor), Scaled(pair.high, factor)}, root);
      Store(pair.low, k, kLanes);
      Store(Reversed(pair.high), mirror, kLanes);
    });
  }

 private:
  using D = FftLanes<T>;
  static constexpr Index kLanes = kFftLanes<T>;

  Index Pitch() const { return RoundedToLanes<T>(half_ + 1); }

  // f(k, where h - k stands last of a vector, e^(-i pi k / h)) for vectors that begin at k.
  template <class F>
  HWY_INLINE void ForVectorsOfPairs(const F& f) const {
    const Index last = half_ / 2 + 1 - kLanes;
    for (Index k = 0;; k = std::min(k + kLanes, last)) {
      f(k, half_ + 1 - k - kLanes, LoadComplexFirst(plan_.half_turns.data() + 2 * k, kLanes));
      if (k == last) return;
    }
  }
  static hn::Vec<D> Factor(Index k, T scale, T inside) {
    const auto all = hn::Set(D(), scale * inside);
    return k == 0 ? hn::IfThenElse(hn::FirstN(D(), 1), hn::Set(D(), scale), all) : all;
  }
  static Spectral<T> Scaled(Spectral<T> x, hn::Vec<D> factor) { return {hn::Mul(x.re, factor), hn::Mul(x.im, factor)}; }
  static Spectral<T> Reversed(Spectral<T> x) { return {hn::Reverse(D(), x.re), hn::Reverse(D(), x.im)}; }

  const cpu::FftPlan<T>& plan_;
  Index half_;
  Tensor memory_;
  T *re_, *im_;
};

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
