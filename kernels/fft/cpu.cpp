#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/fft/cpu.cpp"
#include "subquad/kernels/fft/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <complex>

#include "subquad/core/parallel.h"
#include "subquad/kernels/fft/lanes-inl.h"
#include "subquad/kernels/fft/real-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

// f(panel, which vector of signals) for every vector of signals, transforms being of length n.
template <class T, class F>
void ForVectorsOfSignals(const FftSignals<T>& signals, Index n, const F& f) {
  const auto plan = cpu::fft_plan<T>(n);
  parallel_for(signals.Vectors(), 50 * n, [&](Index vector) HWY_ATTR {
    const FftLines<T> lines(*plan);
    FftPanel<T> panel(*plan, lines);
    f(panel, vector);
  });
}

template <class T>
void Complex(FftSignals<T> signals, Index n, bool backward, T scale, const T* x, T* out) {
  ForVectorsOfSignals(signals, n, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n);
    if (backward) {
      FftCursor at = panel.Spectrum(0);
      for (Index k = 0; k < n; ++k, at.Next()) panel.Store(row.LoadComplex(x, k), at);
      panel.Backward([&](Index j, Spectral<T> v) HWY_ATTR { row.StoreComplex(Scaled(v, scale), out, j); });
    } else {
      panel.Forward([&](Index j) HWY_ATTR { return row.LoadComplex(x, j); });
      FftCursor at = panel.Spectrum(0);
      for (Index k = 0; k < n; ++k, at.Next()) row.StoreComplex(Scaled(panel.Load(at), scale), out, k);
    }
  });
}

template <class T>
void RealEven(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  ForVectorsOfSignals(signals, n / 2, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    panel.Forward([&](Index j) HWY_ATTR { return Spectral<T>{row.Load(x, 2 * j), row.Load(x, 2 * j + 1)}; });
    const T half = scale / 2;  // Unpacked gives the double
    ForPairs(panel, [&](Index k, const FftCursor& low, const FftCursor& high, Spectral<T> w) HWY_ATTR {
      const SpectralPair<T> pair = Unpacked(panel.Load(low), panel.Load(high), w);
      const T factor = k == 0 ? half : half * inside;
      spectrum.StoreComplex(Scaled(pair.low, factor), out, k);
      spectrum.StoreComplex(Scaled(pair.high, factor), out, n / 2 - k);
    });
  });
}

// A signal of odd length goes as a complex one.
template <class T>
void RealOdd(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  ForVectorsOfSignals(signals, n, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    panel.Forward([&](Index j) HWY_ATTR { return Spectral<T>{row.Load(x, j), hn::Zero(FftLanes<T>())}; });
    FftCursor at = panel.Spectrum(0);
    for (Index k = 0; k <= n / 2; ++k, at.Next()) {
      Spectral<T> v = Scaled(panel.Load(at), k == 0 ? scale : scale * inside);
      if (k == 0) v.im = hn::Zero(FftLanes<T>());
      spectrum.StoreComplex(v, out, k);
    }
  });
}

template <class T>
void InverseEven(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  ForVectorsOfSignals(signals, n / 2, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    ForPairs(panel, [&](Index k, const FftCursor& low, const FftCursor& high, Spectral<T> w) HWY_ATTR {
      SpectralPair<T> pair = {spectrum.LoadComplex(x, k), spectrum.LoadComplex(x, n / 2 - k)};
      if (k == 0) pair.low.im = pair.high.im = hn::Zero(FftLanes<T>());
      const T factor = k == 0 ? scale : scale * inside;
      const SpectralPair<T> packed = Packed(SpectralPair<T>{Scaled(pair.low, factor), Scaled(pair.high, factor)}, w);
      panel.Store(packed.low, low);
      panel.Store(packed.high, high);
    });
    panel.Backward([&](Index j, Spectral<T> v) HWY_ATTR {
      row.Store(v.re, out, 2 * j);
      row.Store(v.im, out, 2 * j + 1);
    });
  });
}

template <class T>
void InverseOdd(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  ForVectorsOfSignals(signals, n, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    Spectral<T> first = Scaled(spectrum.LoadComplex(x, 0), scale);
    first.im = hn::Zero(FftLanes<T>());
    FftCursor low = panel.Spectrum(0), high = panel.Spectrum(n - 1);
    panel.Store(first, low);
    for (Index k = 1; k <= n / 2; ++k, high.Previous()) {
      low.Next();
      const Spectral<T> v = Scaled(spectrum.LoadComplex(x, k), scale * inside);
      panel.Store(v, low);
      panel.Store(Conjugate(v), high);
    }
    panel.Backward([&](Index j, Spectral<T> v) HWY_ATTR { row.Store(v.re, out, j); });
  });
}

}  // namespace

void Fft(const Tensor& x, bool backward, double scale, Tensor& out) {
  const auto run = [&]<class T>(Type<T>) {
    Complex<T>({x.dim(0), x.dim(2)}, x.dim(1), backward, static_cast<T>(scale), reinterpret_cast<const T*>(x.bytes()),
               reinterpret_cast<T*>(out.bytes()));
  };
  x.dtype() == kComplex64 ? run(Type<float>()) : run(Type<double>());
}

void Rfft(const Tensor& x, double scale, double inside, Tensor& out) {
  visit_float("rfft", x.dtype(), [&]<class T>(Type<T>) {
    const Index n = x.dim(1);
    const auto transform = n % 2 == 0 ? RealEven<T> : RealOdd<T>;
    transform({x.dim(0), x.dim(2)}, n, static_cast<T>(scale), static_cast<T>(inside), x.data<T>(),
              reinterpret_cast<T*>(out.bytes()));
  });
}

void Irfft(const Tensor& x, double scale, double inside, Tensor& out) {
  visit_float("irfft", out.dtype(), [&]<class T>(Type<T>) {
    const Index n = out.dim(1);
    const auto transform = n % 2 == 0 ? InverseEven<T> : InverseOdd<T>;
    transform({out.dim(0), out.dim(2)}, n, static_cast<T>(scale), static_cast<T>(inside),
              reinterpret_cast<const T*>(x.bytes()), out.data<T>());
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(Fft);
HWY_EXPORT(Rfft);
HWY_EXPORT(Irfft);

namespace cpu {

void fft(const Tensor& x, bool backward, double scale, Tensor& out) {
  SUBQUAD_DISPATCH(Fft)(x, backward, scale, out);
}

void rfft(const Tensor& x, double scale, double inside, Tensor& out) {
  SUBQUAD_DISPATCH(Rfft)(x, scale, inside, out);
}

void irfft(const Tensor& x, double scale, double inside, Tensor& out) {
  SUBQUAD_DISPATCH(Irfft)(x, scale, inside, out);
}

}  // namespace cpu
}  // namespace subquad::kernels

#endif  // HWY_ONCE
