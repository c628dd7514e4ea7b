#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/fft/cpu.cpp"
#include "subquad/kernels/fft/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <complex>

#include "subquad/core/parallel.h"
#include "subquad/kernels/fft/lanes-inl.h"
#include "subquad/kernels/fft/real-inl.h"
#include "subquad/kernels/fft/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

constexpr Index kTogether = 16384;

// Of all signals, with so many numbers of T each.
template <class T>
Index BytesOf(const FftSignals<T>& signals, Index each) {
  return signals.outer * signals.inner * each * static_cast<Index>(sizeof(T));
}

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

// f(transform, where its spectra can be packed, first, last) for every signal, if signals are rows for which lanes can
// be numbers of one. Where two are transformed at once and one is left, it is both of them.
template <class T, class F>
bool ForRows(const FftSignals<T>& signals, Index n, const F& f) {
  const auto plan = cpu::fft_plan<T>(n);
  if (signals.inner > 1 || !FftOfRow<T>::Fits(*plan, signals.outer)) return false;
  const Index together = std::clamp<Index>(kTogether / n, 2, 64);  // signals that share one allocation
  parallel_for((signals.outer + together - 1) / together, 5 * n * together, [&](Index task) HWY_ATTR {
    const FftOfRow<T> row(*plan);
    const PackedSpectrum<T> packed[2] = {PackedSpectrum<T>(*plan), PackedSpectrum<T>(*plan)};
    const Index end = std::min(signals.outer, (task + 1) * together);
    for (Index s = task * together; s < end; s += row.together())
      f(row, packed, s, std::min(s + row.together(), end) - 1);
  });
  return true;
}

template <class T>
bool ComplexRows(FftSignals<T> signals, Index n, bool backward, T scale, const T* x, T* out) {
  return ForRows(signals, n, [=](const FftOfRow<T>& row, const PackedSpectrum<T>*, Index first, Index last) HWY_ATTR {
    const Index start[2] = {2 * n * first, 2 * n * last};
    const auto load = [&](Index i, Index j, Index count)
                          HWY_ATTR { return LoadComplexFirst(x + start[i] + 2 * j, count); };
    const auto store = [&](Index i, Index j, Index count, Spectral<T> v)
                           HWY_ATTR { StoreComplexFirst(Scaled(v, scale), out + start[i] + 2 * j, count); };
    backward ? row.Backward(load, store) : row.Forward(load, store);
  });
}

template <class T>
bool RealRows(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  return ForRows(
      signals, n / 2, [=](const FftOfRow<T>& row, const PackedSpectrum<T>* packed, Index first, Index last) HWY_ATTR {
        const Index signal[2] = {first, last};
        row.Forward([&](Index i, Index j, Index count)
                        HWY_ATTR { return LoadComplexFirst(x + n * signal[i] + 2 * j, count); },
                    [&](Index i, Index k, Index count, Spectral<T> z) HWY_ATTR { packed[i].Store(z, k, count); });
        for (Index i = 0; i < row.together(); ++i) packed[i].Unpack(scale, inside, out + (n + 2) * signal[i]);
      });
}

template <class T>
bool InverseRows(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  return ForRows(signals, n / 2,
                 [=](const FftOfRow<T>& row, const PackedSpectrum<T>* packed, Index first, Index last) HWY_ATTR {
                   const Index signal[2] = {first, last};
                   for (Index i = 0; i < row.together(); ++i) packed[i].Pack(scale, inside, x + (n + 2) * signal[i]);
                   row.Backward([&](Index i, Index k, Index count) HWY_ATTR { return packed[i].Load(k, count); },
                                [&](Index i, Index j, Index count, Spectral<T> v)
                                    HWY_ATTR { StoreComplexFirst(v, out + n * signal[i] + 2 * j, count); });
                 });
}

template <class T>
void Complex(FftSignals<T> signals, Index n, bool backward, T scale, const T* x, T* out) {
  if (ComplexRows(signals, n, backward, scale, x, out)) return;
  constexpr auto kKind = FftNumbers::complex;
  const bool streams = StreamsLarge<kKind>(signals, out, BytesOf<T>(signals, 2 * n));
  ForVectorsOfSignals(signals, n, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n, streams);
    const auto load = [&](Index j, Index count, FftRows<T> to)
                          HWY_ATTR { row.template LoadRows<kKind>(x, j, count, to); };
    const auto store = [&](Index j, Index count, FftRows<T> from)
                           HWY_ATTR { row.template StoreRows<kKind>(from, scale, out, j, count); };
    if (backward) {
      panel.ForSpectrum(n, load);
      panel.Backward(store);
    } else {
      panel.Forward(load);
      panel.ForSpectrum(n, store);
    }
    row.FlushStores();
  });
}

template <class T>
void RealEven(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  if (RealRows(signals, n, scale, inside, x, out)) return;
  const bool streams = StreamsLarge<FftNumbers::complex>(signals, out, BytesOf<T>(signals, n + 2));
  ForVectorsOfSignals(signals, n / 2, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1, streams);
    panel.Forward([&](Index j, Index count, FftRows<T> to)
                      HWY_ATTR { row.template LoadRows<FftNumbers::pairs>(x, j, count, to); });
    const T half = scale / 2;  // Unpacked gives the double
    const FftRows<T> ahead = panel.Scratch(), behind = ahead.From(2 * FftLines<T>::kColumns - 1);
    const bool by_rows = spectrum.Neighbours();
    ForPairs(
        panel, [](Index, Index) {},
        [&](Index k, Index i, const FftCursor& low, const FftCursor& high, Spectral<T> w) HWY_ATTR {
          const SpectralPair<T> pair = Unpacked(panel.Load(low), panel.Load(high), w);
          const T factor = k == 0 ? half : half * inside;
          const Spectral<T> number = Scaled(pair.low, factor), mirror = Scaled(pair.high, factor);
          if (by_rows) {
            ahead.Store(number, i);
            behind.Store(mirror, -i);
          } else {
            spectrum.template StoreNumber<FftNumbers::complex>(number, out, k);
            spectrum.template StoreNumber<FftNumbers::complex>(mirror, out, n / 2 - k);
          }
        },
        [&](Index first, Index count) HWY_ATTR {
          if (!by_rows) return;
          spectrum.template StoreRows<FftNumbers::complex>(ahead, 1, out, first, count);
          spectrum.template StoreRows<FftNumbers::complex>(behind.From(1 - count), 1, out, n / 2 + 1 - first - count,
                                                           count);
        });
    spectrum.FlushStores();
  });
}

// A signal of odd length goes as a complex one.
template <class T>
void RealOdd(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  ForVectorsOfSignals(signals, n, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    panel.Forward([&](Index j, Index count, FftRows<T> to)
                      HWY_ATTR { row.template LoadRows<FftNumbers::reals>(x, j, count, to); });
    const Spectral<T> sum = panel.Load(panel.Spectrum(0));
    panel.ForSpectrum(n / 2 + 1, [&](Index k, Index count, FftRows<T> from) HWY_ATTR {
      spectrum.template StoreRows<FftNumbers::complex>(from, scale * inside, out, k, count);
    });
    panel.Scratch().Store({sum.re, hn::Zero(FftLanes<T>())}, 0);
    spectrum.template StoreRows<FftNumbers::complex>(panel.Scratch(), scale, out, 0, 1);
  });
}

template <class T>
void InverseEven(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  if (InverseRows(signals, n, scale, inside, x, out)) return;
  ForVectorsOfSignals(signals, n / 2, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    const FftRows<T> ahead = panel.Scratch(), behind = ahead.From(2 * FftLines<T>::kColumns - 1);
    const bool by_rows = spectrum.Neighbours();
    ForPairs(
        panel,
        [&](Index first, Index count) HWY_ATTR {
          if (!by_rows) return;
          spectrum.template LoadRows<FftNumbers::complex>(x, first, count, ahead);
          spectrum.template LoadRows<FftNumbers::complex>(x, n / 2 + 1 - first - count, count, behind.From(1 - count));
        },
        [&](Index k, Index i, const FftCursor& low, const FftCursor& high, Spectral<T> w) HWY_ATTR {
          SpectralPair<T> pair;
          if (by_rows)
            pair = {ahead.Load(i), behind.Load(-i)};
          else
            pair = {spectrum.template LoadNumber<FftNumbers::complex>(x, k),
                    spectrum.template LoadNumber<FftNumbers::complex>(x, n / 2 - k)};
          if (k == 0) pair.low.im = pair.high.im = hn::Zero(FftLanes<T>());
          const T factor = k == 0 ? scale : scale * inside;
          pair = Packed(SpectralPair<T>{Scaled(pair.low, factor), Scaled(pair.high, factor)}, w);
          panel.Store(pair.low, low);
          panel.Store(pair.high, high);
        },
        [](Index, Index) {});
    panel.Backward([&](Index j, Index count, FftRows<T> from)
                       HWY_ATTR { row.template StoreRows<FftNumbers::pairs>(from, 1, out, j, count); });
  });
}

template <class T>
void InverseOdd(FftSignals<T> signals, Index n, T scale, T inside, const T* x, T* out) {
  ForVectorsOfSignals(signals, n, [=](FftPanel<T>& panel, Index vector) HWY_ATTR {
    const FftRow<T> row(signals, vector, n), spectrum(signals, vector, n / 2 + 1);
    const FftRows<T> read = panel.Scratch();
    FftCursor low = panel.Spectrum(0), high = panel.Spectrum(n - 1);
    for (Index first = 0; first <= n / 2; first += FftLines<T>::kColumns) {
      const Index count = std::min(FftLines<T>::kColumns, n / 2 + 1 - first);
      spectrum.template LoadRows<FftNumbers::complex>(x, first, count, read);
      for (Index k = first; k < first + count; ++k, low.Next()) {
        Spectral<T> v = Scaled(read.Load(k - first), k == 0 ? scale : scale * inside);
        if (k == 0) v.im = hn::Zero(FftLanes<T>());
        panel.Store(v, low);
        if (k == 0) continue;
        panel.Store(Conjugate(v), high);
        high.Previous();
      }
    }
    panel.Backward([&](Index j, Index count, FftRows<T> from)
                       HWY_ATTR { row.template StoreRows<FftNumbers::reals>(from, 1, out, j, count); });
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
