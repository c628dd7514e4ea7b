// Which signals of a tensor [outer, n, inner] stand in the lanes of a vector, and how a row of them is read and
// written. Include inside the per-target part of a kernel (after targets.h and hwy/highway.h); the functions live in
// subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_FFT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FFT_LANES_INL_H_
#undef SUBQUAD_KERNELS_FFT_LANES_INL_H_
#else
#define SUBQUAD_KERNELS_FFT_LANES_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/view.h"
#include "subquad/kernels/fft/butterfly-inl.h"
#include "subquad/kernels/simd/past_caches.h"
#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Signals (o, i) of a tensor, cut into vectors of lanes. Where `inner` fills a vector, lanes are neighbours in memory
// and a vector never holds two o. Where it is 1, a signal's numbers are neighbours: rows are transposed in registers.
// Else the lanes are gathered one by one.
template <class T>
struct FftSignals {
  Index outer, inner;

  bool Adjacent() const { return inner >= kFftLanes<T>; }
  Index VectorsPerOuter() const { return (inner + kFftLanes<T> - 1) / kFftLanes<T>; }
  Index Vectors() const {
    return Adjacent() ? outer * VectorsPerOuter() : (outer * inner + kFftLanes<T> - 1) / kFftLanes<T>;
  }
};

// Lane c of vector r becomes lane r of vector c, for a vector's lanes of vectors. With r and c as bits, one step moves
// the lowest bit of c in the place of one of r, and that on top of c.
template <class T>
HWY_INLINE void TransposeSquare(hn::Vec<FftLanes<T>>* v) {
#if HWY_TARGET != HWY_SCALAR
  const FftLanes<T> d;
#pragma GCC unroll 4
  for (Index bit = 1; bit < kFftLanes<T>; bit *= 2) {
#pragma GCC unroll 16
    for (Index r = 0; r < kFftLanes<T>; ++r) {
      if ((r & bit) != 0) continue;
      const auto low = v[r], high = v[r + bit];
      v[r] = hn::ConcatEven(d, high, low);
      v[r + bit] = hn::ConcatOdd(d, high, low);
    }
  }
#else
  static_cast<void>(v);
#endif
}

// What a row of a panel is in memory.
enum class FftNumbers {
  complex,  // number j: (re, im)
  pairs,    // numbers 2 j, 2 j + 1 of a real signal
  reals,    // number j of a real signal; the imaginary part is 0, or is left out
};

// Are results of so many bytes, at `out`, written past the caches? If so, and if the places of a vector's numbers fill
// whole lines, those need not be read from memory first. For a vector whose lanes are all signals.
template <FftNumbers kKind, class T>
bool StreamsLarge(const FftSignals<T>& signals, const T* out, Index bytes) {
  constexpr Index kPlace = (kKind == FftNumbers::complex ? 2 : 1) * static_cast<Index>(sizeof(T));
  return bytes >= kLastCache / 8 && signals.Adjacent() && kPlace * kFftLanes<T> % kCacheLine == 0 &&
         on_whole_lines(out, kPlace * signals.inner);
}

// The lanes of one such vector in a tensor with `extent` numbers per signal. A number is one T, or two for complex
// ones. Lanes beyond the last signal repeat it: they read what it reads, and write the same bits to the same place.
template <class T>
class FftRow {
 public:
  using D = FftLanes<T>;
  static constexpr Index kLanes = kFftLanes<T>;

  // Where it `streams` (StreamsLarge), stores have to be flushed at the end.
  FftRow(const FftSignals<T>& signals, Index vector, Index extent, bool streams = false) : stride_(signals.inner) {
    const Index inner = signals.inner;
    adjacent_ = signals.Adjacent();
    Index first = vector * kLanes, end = signals.outer * inner;
    if (adjacent_) {
      const Index o = vector / signals.VectorsPerOuter();
      first = o * inner + vector % signals.VectorsPerOuter() * kLanes;
      end = (o + 1) * inner;
    }
    count_ = std::min(kLanes, end - first);
    streams_ = streams && count_ == kLanes;
    for (Index lane = 0; lane < kLanes; ++lane) {
      const Index signal = first + std::min(lane, count_ - 1);
      offset_[lane] = signal / inner * extent * inner + signal % inner;
    }
  }

  Index lanes() const { return count_; }  // with signals of their own
  void FlushStores() const {
    if (streams_) hwy::FlushStream();
  }

  // Number j of every signal, real.
  HWY_INLINE hn::Vec<D> Load(const T* data, Index j) const {
    const T* row = data + j * stride_;
    if (adjacent_ && count_ == kLanes) return hn::LoadU(D(), row + offset_[0]);
    if (adjacent_) return hn::MaskedLoad(hn::FirstN(D(), static_cast<std::size_t>(count_)), D(), row + offset_[0]);
    return Gather(row, 1);
  }
  HWY_INLINE void Store(hn::Vec<D> v, T* data, Index j) const {
    T* row = data + j * stride_;
    if (streams_) return hn::Stream(v, D(), row + offset_[0]);
    if (adjacent_ && count_ == kLanes) return hn::StoreU(v, D(), row + offset_[0]);
    if (adjacent_) return hn::BlendedStore(v, hn::FirstN(D(), static_cast<std::size_t>(count_)), D(), row + offset_[0]);
    Scatter(v, row, 1);
  }

  // Are a signal's numbers neighbours, so that several are read and written at a time?
  bool Neighbours() const { return stride_ == 1 && kLanes > 1; }

  // Row j of a panel, alone.
  template <FftNumbers kKind>
  HWY_INLINE Spectral<T> LoadNumber(const T* data, Index j) const {
    if constexpr (kKind == FftNumbers::pairs) return {Load(data, 2 * j), Load(data, 2 * j + 1)};
    if constexpr (kKind == FftNumbers::reals) return {Load(data, j), hn::Zero(D())};
    const T* row = data + 2 * j * stride_;
    if (!adjacent_ || count_ < kLanes) return {Gather(row, 2), Gather(row + 1, 2)};
    Spectral<T> x;
    hn::LoadInterleaved2(D(), row + 2 * offset_[0], x.re, x.im);
    return x;
  }
  template <FftNumbers kKind>
  HWY_INLINE void StoreNumber(Spectral<T> x, T* data, Index j) const {
    if constexpr (kKind == FftNumbers::complex) {
      T* row = data + 2 * j * stride_;
      if (streams_) return StreamComplex(x, row + 2 * offset_[0]);
      if (adjacent_ && count_ == kLanes) return hn::StoreInterleaved2(x.re, x.im, D(), row + 2 * offset_[0]);
      Scatter(x.re, row, 2);
      Scatter(x.im, row + 1, 2);
    } else {
      constexpr bool kPairs = kKind == FftNumbers::pairs;
      Store(x.re, data, kPairs ? 2 * j : j);
      if (kPairs) Store(x.im, data, 2 * j + 1);
    }
  }

  // Numbers j ... j + count - 1 of every signal to rows 0 ... count - 1.
  template <FftNumbers kKind>
  HWY_INLINE void LoadRows(const T* data, Index j, Index count, FftRows<T> to) const {
    if (!Neighbours()) {
      for (Index i = 0; i < count; ++i) to.Store(LoadNumber<kKind>(data, j + i), i);
      return;
    }
    const T* rows[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) rows[lane] = data + kOffset<kKind> * offset_[lane] + kWide<kKind> * j;
    constexpr Index kStep = kPerBlock<T>;
    const Index columns = kWide<kKind> * count;
    Index c = 0;
    for (; c + kLanes <= columns; c += kLanes) {
      hn::Vec<D> v[kLanes];
      for (Index lane = 0; lane < kLanes; ++lane) v[lane] = hn::LoadU(D(), rows[lane] + c);
      TransposeSquare<T>(v);
      PutRows<kKind, kLanes>(v, to.From(c / kWide<kKind>));
    }
    for (; c + kStep <= columns; c += kStep) {
      hn::Vec<D> v[kStep];
      for (Index r = 0; r < kStep; ++r) v[r] = LoadBlocks(D(), rows + r, c);
      TransposeBlocks(D(), v);
      PutRows<kKind, kStep>(v, to.From(c / kWide<kKind>));
    }
    for (Index i = c / kWide<kKind>; i < count; ++i) to.Store(LoadNumber<kKind>(data, j + i), i);
  }

  // And back, times `scale`.
  template <FftNumbers kKind>
  HWY_INLINE void StoreRows(FftRows<T> from, T scale, T* data, Index j, Index count) const {
    if (!Neighbours()) {
      for (Index i = 0; i < count; ++i) StoreNumber<kKind>(Scaled(from.Load(i), scale), data, j + i);
      return;
    }
    T* rows[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) rows[lane] = data + kOffset<kKind> * offset_[lane] + kWide<kKind> * j;
    constexpr Index kStep = kPerBlock<T>;
    const Index columns = kWide<kKind> * count;
    Index c = 0;
    for (; c + kLanes <= columns; c += kLanes) {
      hn::Vec<D> v[kLanes];
      TakeRows<kKind, kLanes>(from.From(c / kWide<kKind>), scale, v);
      TransposeSquare<T>(v);
      for (Index lane = 0; lane < kLanes; ++lane) hn::StoreU(v[lane], D(), rows[lane] + c);
    }
    for (; c + kStep <= columns; c += kStep) {
      hn::Vec<D> v[kStep];
      TakeRows<kKind, kStep>(from.From(c / kWide<kKind>), scale, v);
      TransposeBlocks(D(), v);
      for (Index r = 0; r < kStep; ++r) StoreBlocks(D(), v[r], rows + r, c);
    }
    for (Index i = c / kWide<kKind>; i < count; ++i) StoreNumber<kKind>(Scaled(from.Load(i), scale), data, j + i);
  }

 private:
  template <FftNumbers kKind>
  static constexpr Index kOffset = kKind == FftNumbers::complex ? 2 : 1;  // T per number of `extent`
  template <FftNumbers kKind>
  static constexpr Index kWide = kKind == FftNumbers::reals ? 1 : 2;  // T per row of a panel

  // kCount vectors of T to the rows of a panel that they are, and back.
  template <FftNumbers kKind, Index kCount>
  static HWY_INLINE void PutRows(const hn::Vec<D>* v, FftRows<T> to) {
    for (Index r = 0; r < kCount; r += kWide<kKind>)
      if constexpr (kWide<kKind> == 2)
        to.Store({v[r], v[r + 1]}, r / 2);
      else
        to.Store({v[r], hn::Zero(D())}, r);
  }
  template <FftNumbers kKind, Index kCount>
  static HWY_INLINE void TakeRows(FftRows<T> from, T scale, hn::Vec<D>* v) {
    for (Index r = 0; r < kCount; r += kWide<kKind>) {
      const Spectral<T> x = Scaled(from.Load(r / kWide<kKind>), scale);
      v[r] = x.re;
      if constexpr (kWide<kKind> == 2) v[r + 1] = x.im;
    }
  }

  static HWY_INLINE void StreamComplex(Spectral<T> x, T* to) {
    HWY_ALIGN T both[2 * kLanes];
    hn::StoreInterleaved2(x.re, x.im, D(), both);
    hn::Stream(hn::Load(D(), both), D(), to);
    hn::Stream(hn::Load(D(), both + kLanes), D(), to + kLanes);
  }
  HWY_INLINE hn::Vec<D> Gather(const T* row, Index each) const {
    HWY_ALIGN T lanes[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) lanes[lane] = row[each * offset_[lane]];
    return hn::Load(D(), lanes);
  }
  HWY_INLINE void Scatter(hn::Vec<D> v, T* row, Index each) const {
    HWY_ALIGN T lanes[kLanes];
    hn::Store(v, D(), lanes);
    for (Index lane = 0; lane < count_; ++lane) row[each * offset_[lane]] = lanes[lane];
  }

  Index stride_, count_ = 0;
  bool adjacent_ = false, streams_ = false;
  Index offset_[kLanes];
};

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
