// Complex transforms of one vector of signals, lane beside lane: a panel holds every number of them, a row being the
// real parts of all lanes and then their imaginary parts. No lane knows what stands in another. Include inside the
// per-target part of a kernel (after targets.h and hwy/highway.h); the functions live in
// subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_FFT_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FFT_PANEL_INL_H_
#undef SUBQUAD_KERNELS_FFT_PANEL_INL_H_
#else
#define SUBQUAD_KERNELS_FFT_PANEL_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "subquad/core/tensor.h"
#include "subquad/kernels/fft/butterfly-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Walks over the rows of a panel in the order of the numbers they hold, without dividing: number = fast + size * slow
// stands in row fast * fast_step + slow * slow_step.
class FftCursor {
 public:
  FftCursor(Index number, Index size, Index fast_step, Index slow_step)
      : fast_(number % size),
        size_(size),
        fast_step_(fast_step),
        turn_(slow_step - size * fast_step),
        row_(fast_ * fast_step + number / size * slow_step) {}

  Index row() const { return row_; }
  void Next() {
    row_ += fast_step_;
    if (++fast_ == size_) {
      fast_ = 0;
      row_ += turn_;
    }
  }
  void Previous() {
    if (fast_ == 0) {
      fast_ = size_;
      row_ -= turn_;
    }
    --fast_;
    row_ -= fast_step_;
  }

 private:
  Index fast_, size_, fast_step_, turn_, row_;
};

template <class T>
class FftPanel {
 public:
  explicit FftPanel(const cpu::FftPlan<T>& plan)
      : plan_(plan),
        smooth_(plan.padded ? *plan.padded : plan),
        memory_(empty({smooth_.rows() * kRow}, dtype_of<T>(), kCpu, "fft")),
        data_(memory_.data<T>()) {}

  const cpu::FftPlan<T>& plan() const { return plan_; }

  // The rows where Forward leaves, and Backward expects, number k of the spectrum.
  FftCursor Spectrum(Index k) const {
    if (plan_.padded) return Natural(k);
    return {k, smooth_.outer, smooth_.pitch(), 1};
  }
  Spectral<T> Load(const FftCursor& at) const { return Rows().Load(at.row()); }
  void Store(Spectral<T> v, const FftCursor& at) const { Rows().Store(v, at.row()); }

  // Transforms what source(j) gives for j = 0 ... n-1, asked for in this order.
  template <class Source>
  void Forward(const Source& source) {
    if (plan_.padded)
      Convolve(Rows(), source);
    else
      SmoothForward(Rows(), source);
  }

  // Hands target(j, x), j = 0 ... n-1, the inverse transform, times n, of the spectrum in the panel; destroys it.
  template <class Target>
  void Backward(const Target& target) {
    const FftRows<T> rows = ExchangedRows();  // the inverse transform is the transform between two exchanges of re, im
    const auto exchanged = [&](Index j, Spectral<T> x) HWY_ATTR { target(j, Spectral<T>{x.im, x.re}); };
    if (!plan_.padded) return SmoothBackward(rows, exchanged);
    Convolve(rows, [&](Index j) HWY_ATTR { return rows.Load(Natural(j).row()); });
    FftCursor at = Natural(0);
    for (Index j = 0; j < plan_.length; ++j, at.Next()) exchanged(j, rows.Load(at.row()));
  }

 private:
  static constexpr Index kRow = 2 * kFftLanes<T>;

  FftRows<T> Rows() const { return {data_, kFftLanes<T>, kRow}; }
  FftRows<T> ExchangedRows() const { return {data_ + kFftLanes<T>, -kFftLanes<T>, kRow}; }
  FftCursor Natural(Index j) const { return {j, smooth_.inner, 1, smooth_.pitch()}; }

  // Two lines' worth of rows beside the panel.
  struct Buffers {
    explicit Buffers(Index length)
        : memory(empty({2 * length * kRow}, dtype_of<T>(), kCpu, "fft")),
          first{memory.data<T>(), kFftLanes<T>, kRow},
          second(first.From(length)) {}
    Tensor memory;
    FftRows<T> first, second;
  };

  // Natural order to the order of the spectrum, in place: a column, and a run, has its results where its numbers were.
  // The source is read into the panel first: its rows lie far apart in memory, and only in order are they prefetched.
  template <class Source>
  void SmoothForward(FftRows<T> rows, const Source& source) {
    const Index outer = smooth_.outer, inner = smooth_.inner, pitch = smooth_.pitch();
    const Buffers buffers(std::max(outer, inner));
    for (Index a = 0, j = 0; a < outer; ++a)
      for (Index c = 0; c < inner; ++c, ++j) rows.Store(source(j), a * pitch + c);
    for (Index c = 0; outer > 1 && c < inner; ++c) {
      const FftRows<T> column = rows.From(c).Every(pitch);
      TransformLine(smooth_.column, column, buffers.first, buffers.second, buffers.first);
      const T* turns = smooth_.turns.data() + 2 * outer * c;
      for (Index k = 0; k < outer; ++k) column.Store(Turned(buffers.first.Load(k), turns + 2 * k), k);
    }
    Runs(rows, buffers);
  }

  template <class Target>
  void SmoothBackward(FftRows<T> rows, const Target& target) {
    const Index outer = smooth_.outer, inner = smooth_.inner, pitch = smooth_.pitch();
    const Buffers buffers(std::max(outer, inner));
    Runs(rows, buffers);
    for (Index c = 0; outer > 1 && c < inner; ++c) {
      const FftRows<T> column = rows.From(c).Every(pitch);
      const T* turns = smooth_.turns.data() + 2 * outer * c;
      for (Index k = 0; k < outer; ++k) buffers.first.Store(Turned(column.Load(k), turns + 2 * k), k);
      TransformLine(smooth_.column, buffers.first, buffers.first, buffers.second, column);
    }
    for (Index a = 0, j = 0; a < outer; ++a)
      for (Index c = 0; c < inner; ++c, ++j) target(j, rows.Load(a * pitch + c));
  }

  void Runs(FftRows<T> rows, const Buffers& buffers) {
    for (Index k = 0; k < smooth_.outer; ++k) {
      const FftRows<T> run = rows.From(k * smooth_.pitch());
      TransformLine(smooth_.run, run, buffers.first, buffers.second, run);
    }
  }

  // Bluestein's convolution; the result stands in natural order.
  template <class Source>
  void Convolve(FftRows<T> rows, const Source& source) {
    const Index n = plan_.length;
    const T *chirp = plan_.chirp.data(), *filter = plan_.filter.data();
    const auto zero = hn::Zero(FftLanes<T>());
    SmoothForward(rows, [&](Index j) HWY_ATTR {
      return j < n ? Turned(source(j), chirp + 2 * j) : Spectral<T>{zero, zero};
    });
    // The inverse transform, exchanged as in Backward.
    const FftRows<T> exchanged = {rows.re + rows.im, -rows.im, rows.step};
    for (Index k1 = 0; k1 < smooth_.outer; ++k1)
      for (Index k2 = 0; k2 < smooth_.inner; ++k2, filter += 2) {
        const Index row = k1 * smooth_.pitch() + k2;
        rows.Store(Turned(rows.Load(row), filter), row);
      }
    SmoothBackward(exchanged, [&](Index j, Spectral<T> x) HWY_ATTR {
      if (j < n) rows.Store(Turned(Spectral<T>{x.im, x.re}, chirp + 2 * j), Natural(j).row());
    });
  }

  const cpu::FftPlan<T>& plan_;
  const cpu::FftPlan<T>& smooth_;  // the transform that is really made: the plan's own, or the padded one
  Tensor memory_;
  T* data_;
};

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
