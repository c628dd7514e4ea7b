// Which signals of a tensor [outer, n, inner] stand in the lanes of a vector, and how a row of them is read and
// written. Include inside the per-target part of a kernel (after targets.h and hwy/highway.h); the functions live in
// subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_FFT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FFT_LANES_INL_H_
#undef SUBQUAD_KERNELS_FFT_LANES_INL_H_
#else
#define SUBQUAD_KERNELS_FFT_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/view.h"
#include "subquad/kernels/fft/butterfly-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Signals (o, i) of a tensor, cut into vectors of lanes. Where `inner` fills a vector, lanes are neighbours in memory
// and a vector never holds two o; else they are gathered one by one.
template <class T>
struct FftSignals {
  Index outer, inner;

  bool Adjacent() const { return inner >= kFftLanes<T>; }
  Index VectorsPerOuter() const { return (inner + kFftLanes<T> - 1) / kFftLanes<T>; }
  Index Vectors() const {
    return Adjacent() ? outer * VectorsPerOuter() : (outer * inner + kFftLanes<T> - 1) / kFftLanes<T>;
  }
};

// The lanes of one such vector in a tensor with `extent` numbers per signal. A number is one T, or two for complex
// ones.
template <class T>
class FftRow {
 public:
  using D = FftLanes<T>;

  FftRow(const FftSignals<T>& signals, Index vector, Index extent) : stride_(signals.inner) {
    const Index inner = signals.inner;
    adjacent_ = signals.Adjacent();
    Index first = vector * kFftLanes<T>, end = signals.outer * inner;
    if (adjacent_) {
      const Index o = vector / signals.VectorsPerOuter();
      first = o * inner + vector % signals.VectorsPerOuter() * kFftLanes<T>;
      end = (o + 1) * inner;
    }
    count_ = std::min(kFftLanes<T>, end - first);
    for (Index lane = 0; lane < count_; ++lane) {
      const Index signal = first + lane;
      offset_[lane] = signal / inner * extent * inner + signal % inner;
    }
  }

  // Number j of every signal; lanes beyond the last signal read 0 and are not written.
  HWY_INLINE hn::Vec<D> Load(const T* data, Index j) const {
    const T* row = data + j * stride_;
    if (adjacent_ && count_ == kFftLanes<T>) return hn::LoadU(D(), row + offset_[0]);
    if (adjacent_) return hn::MaskedLoad(hn::FirstN(D(), static_cast<std::size_t>(count_)), D(), row + offset_[0]);
    HWY_ALIGN T lanes[kFftLanes<T>] = {};
    for (Index lane = 0; lane < count_; ++lane) lanes[lane] = row[offset_[lane]];
    return hn::Load(D(), lanes);
  }
  HWY_INLINE void Store(hn::Vec<D> v, T* data, Index j) const {
    T* row = data + j * stride_;
    if (adjacent_ && count_ == kFftLanes<T>) return hn::StoreU(v, D(), row + offset_[0]);
    if (adjacent_) return hn::BlendedStore(v, hn::FirstN(D(), static_cast<std::size_t>(count_)), D(), row + offset_[0]);
    HWY_ALIGN T lanes[kFftLanes<T>];
    hn::Store(v, D(), lanes);
    for (Index lane = 0; lane < count_; ++lane) row[offset_[lane]] = lanes[lane];
  }

  // The same for numbers that lie in memory as (re, im).
  HWY_INLINE Spectral<T> LoadComplex(const T* data, Index j) const {
    const T* row = data + 2 * j * stride_;
    Spectral<T> x;
    if (adjacent_ && count_ == kFftLanes<T>) {
      hn::LoadInterleaved2(D(), row + 2 * offset_[0], x.re, x.im);
      return x;
    }
    HWY_ALIGN T re[kFftLanes<T>] = {}, im[kFftLanes<T>] = {};
    for (Index lane = 0; lane < count_; ++lane) {
      re[lane] = row[2 * offset_[lane]];
      im[lane] = row[2 * offset_[lane] + 1];
    }
    return {hn::Load(D(), re), hn::Load(D(), im)};
  }
  HWY_INLINE void StoreComplex(Spectral<T> x, T* data, Index j) const {
    T* row = data + 2 * j * stride_;
    if (adjacent_ && count_ == kFftLanes<T>) return hn::StoreInterleaved2(x.re, x.im, D(), row + 2 * offset_[0]);
    HWY_ALIGN T re[kFftLanes<T>], im[kFftLanes<T>];
    hn::Store(x.re, D(), re);
    hn::Store(x.im, D(), im);
    for (Index lane = 0; lane < count_; ++lane) {
      row[2 * offset_[lane]] = re[lane];
      row[2 * offset_[lane] + 1] = im[lane];
    }
  }

 private:
  Index stride_, count_ = 0;
  bool adjacent_ = false;
  Index offset_[kFftLanes<T>] = {};
};

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
