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

// What panels of one plan work with beside themselves: some columns at a time, so that a signal is read, and a panel
// written, in pieces of neighbouring rows, and one line more.
template <class T>
class FftLines {
 public:
  static constexpr Index kRow = 2 * kFftLanes<T>;
  static constexpr Index kColumns = 8;

  explicit FftLines(const cpu::FftPlan<T>& plan)
      : step_(std::max(Smooth(plan).outer, Smooth(plan).inner) + 1),
        memory_(empty({(kColumns + 1) * step_ * kRow}, dtype_of<T>(), kCpu, "fft")),
        data_(memory_.data<T>()) {}

  FftRows<T> operator[](Index c) const { return {data_ + c * step_ * kRow, kFftLanes<T>, kRow}; }
  FftRows<T> Spare() const { return (*this)[kColumns]; }
  FftRows<T> Across(Index e) const { return {data_ + e * kRow, kFftLanes<T>, step_ * kRow}; }  // number e of each line

  // The transform that is really made: the plan's own, or the padded one.
  static const cpu::FftPlan<T>& Smooth(const cpu::FftPlan<T>& plan) { return plan.padded ? *plan.padded : plan; }

 private:
  Index step_;  // rows from one line to the next; odd where lengths are powers of two, for the cache's sets
  Tensor memory_;
  T* data_;
};

template <class T>
class FftPanel {
 public:
  FftPanel(const cpu::FftPlan<T>& plan, const FftLines<T>& lines)
      : plan_(plan),
        smooth_(FftLines<T>::Smooth(plan)),
        lines_(lines),
        memory_(empty({smooth_.rows() * kRow}, dtype_of<T>(), kCpu, "fft")),
        data_(memory_.data<T>()) {}

  const cpu::FftPlan<T>& plan() const { return plan_; }

  // The rows where Forward leaves, and Backward expects, number k of the spectrum.
  FftCursor Spectrum(Index k) const {
    if (plan_.padded) return Natural(k);
    return {k, smooth_.outer, smooth_.pitch(), 1};
  }
  // f(first, count, rows) for k = 0 ... bins - 1 in pieces whose rows are evenly spaced.
  template <class F>
  void ForSpectrum(Index bins, const F& f) const {
    const bool natural = plan_.padded || smooth_.outer == 1;
    const Index size = natural ? smooth_.inner : smooth_.outer;
    for (Index k = 0; k < bins; k += size)
      f(k, std::min(size, bins - k), Rows().From(Spectrum(k).row()).Every(natural ? 1 : smooth_.pitch()));
  }
  Spectral<T> Load(const FftCursor& at) const { return Load(at.row()); }
  void Store(Spectral<T> v, const FftCursor& at) const { Store(v, at.row()); }
  Spectral<T> Load(Index row) const { return Rows().Load(row); }
  void Store(Spectral<T> v, Index row) const { Rows().Store(v, row); }

  // Room for 2 kColumns rows, for whoever fills or reads a panel between its transforms.
  FftRows<T> Scratch() const { return lines_[0]; }

  // Transforms what source(j, count, rows) puts into rows 0 ... count - 1, numbers j ... j + count - 1: asked for once
  // each of n numbers, some neighbours at a time.
  template <class Source>
  void Forward(const Source& source) {
    if (plan_.padded) return Convolve(Rows(), source);
    ForwardColumns(source);
    for (Index k = 0; k < smooth_.outer; ++k) ForwardRun(k);
  }

  // Hands target(j, count, rows) the inverse transform, times n, of the spectrum that stands in the panel, in the same
  // way; destroys it.
  template <class Target>
  void Backward(const Target& target) {
    if (!plan_.padded) {
      for (Index k = 0; k < smooth_.outer; ++k) BackwardRun(k);
      return BackwardColumns(target);
    }
    const FftRows<T> rows = Rows().Exchanged();
    Convolve(rows, [&](Index j, Index count, FftRows<T> to) HWY_ATTR {
      FftCursor at = Natural(j);
      for (Index i = 0; i < count; ++i, at.Next()) to.Store(rows.Load(at.row()), i);
    });
    const Index inner = smooth_.inner;  // one line of rows after the other
    for (Index j = 0; j < plan_.length; j += inner)
      target(j, std::min(inner, plan_.length - j), Rows().From(Natural(j).row()));
  }

  // The halves of Forward and Backward for plans that are not padded: run k1 holds the numbers k1 + outer k2 of the
  // spectrum in rows k2 of RunRows(k1), so that products of spectra can be made run by run, in the cache.
  FftRows<T> RunRows(Index k1) const { return Rows().From(k1 * smooth_.pitch()); }
  template <class Source>
  void ForwardColumns(const Source& source) {
    Columns(Rows(), source);
  }
  void ForwardRun(Index k1) { Run(RunRows(k1)); }
  void BackwardRun(Index k1) { RunBack(RunRows(k1).Exchanged(), k1); }
  template <class Target>
  void BackwardColumns(const Target& target) {
    ColumnsBack(Rows().Exchanged(),
                [&](Index j, Index count, FftRows<T> from) HWY_ATTR { target(j, count, from.Exchanged()); });
  }

 private:
  static constexpr Index kRow = FftLines<T>::kRow;
  static constexpr Index kColumns = FftLines<T>::kColumns;

  // The inverse transform is the transform between two exchanges of real and imaginary parts.
  FftRows<T> Rows() const { return {data_, kFftLanes<T>, kRow}; }
  FftCursor Natural(Index j) const { return {j, smooth_.inner, 1, smooth_.pitch()}; }

  // Column c of a panel's rows, times its roots of unity.
  void Column(FftRows<T> numbers, FftRows<T> rows, Index c) const {
    TransformLine(smooth_.column, numbers, lines_[0], lines_.Spare(), rows.From(c).Every(smooth_.pitch()),
                  FftTurns<T>{smooth_.turns_re.data() + c, smooth_.turns_im.data() + c, smooth_.inner});
  }
  void ColumnBack(FftRows<T> rows, Index c, FftRows<T> numbers) const {
    TransformLine(smooth_.column, rows.From(c).Every(smooth_.pitch()), numbers, lines_.Spare(), numbers);
  }

  void Run(FftRows<T> run) const { TransformLine(smooth_.run, run, lines_[0], lines_.Spare(), run); }
  // Run k1 on the way back, times its roots of unity.
  void RunBack(FftRows<T> run, Index k1) const {
    if (smooth_.outer == 1) return Run(run);
    const Index at = k1 * smooth_.inner;
    TransformLine(smooth_.run, run, lines_[0], lines_.Spare(), run,
                  FftTurns<T>{smooth_.turns_re.data() + at, smooth_.turns_im.data() + at, 1});
  }

  // In place: a column, and a run, has its results where its numbers were.
  template <class Source>
  void Columns(FftRows<T> rows, const Source& source) {
    const Index outer = smooth_.outer, inner = smooth_.inner;
    if (outer == 1) source(0, inner, rows);
    for (Index first = 0; outer > 1 && first < inner; first += kColumns) {
      const Index count = std::min(kColumns, inner - first);
      for (Index a = 0; a < outer; ++a) source(first + inner * a, count, lines_.Across(a));
      for (Index c = 0; c < count; ++c) Column(lines_[c], rows, first + c);
    }
  }

  template <class Target>
  void ColumnsBack(FftRows<T> rows, const Target& target) {
    const Index outer = smooth_.outer, inner = smooth_.inner;
    if (outer == 1) target(0, inner, rows);
    for (Index first = 0; outer > 1 && first < inner; first += kColumns) {
      const Index count = std::min(kColumns, inner - first);
      for (Index c = 0; c < count; ++c) ColumnBack(rows, first + c, lines_[c]);
      for (Index a = 0; a < outer; ++a) target(first + inner * a, count, lines_.Across(a));
    }
  }

  // Bluestein's convolution; the result stands in natural order.
  template <class Source>
  void Convolve(FftRows<T> rows, const Source& source) {
    const Index n = plan_.length;
    const T *chirp = plan_.chirp.data(), *filter = plan_.filter.data();
    const FftRows<T> exchanged = rows.Exchanged();
    Columns(rows, [&](Index j, Index count, FftRows<T> to) HWY_ATTR {
      const Index there = std::clamp<Index>(n - j, 0, count);
      if (there > 0) source(j, there, to);
      for (Index i = 0; i < there; ++i) to.Store(Turned(to.Load(i), chirp + 2 * (j + i)), i);
      for (Index i = there; i < count; ++i) to.Store({hn::Zero(FftLanes<T>()), hn::Zero(FftLanes<T>())}, i);
    });
    for (Index k1 = 0; k1 < smooth_.outer; ++k1) {
      const FftRows<T> run = rows.From(k1 * smooth_.pitch());
      Run(run);
      for (Index k2 = 0; k2 < smooth_.inner; ++k2, filter += 2) run.Store(Turned(run.Load(k2), filter), k2);
      RunBack(run.Exchanged(), k1);
    }
    ColumnsBack(exchanged, [&](Index j, Index count, FftRows<T> from) HWY_ATTR {
      const FftRows<T> result = from.Exchanged();
      FftCursor at = Natural(j);
      for (Index i = 0; i < std::min(count, n - j); ++i, at.Next())
        rows.Store(Turned(result.Load(i), chirp + 2 * (j + i)), at.row());
    });
  }

  const cpu::FftPlan<T>& plan_;
  const cpu::FftPlan<T>& smooth_;
  const FftLines<T>& lines_;
  Tensor memory_;
  T* data_;
};

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
