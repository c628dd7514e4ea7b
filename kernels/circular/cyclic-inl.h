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

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/circular/spectra.h"
#include "subquad/kernels/fft/lanes-inl.h"
#include "subquad/kernels/fft/real-inl.h"
#include "subquad/kernels/fft/rows-inl.h"
#include "subquad/kernels/simd/past_caches.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The plan of packed real transforms for sequences of length n >= 1.
template <class T>
std::shared_ptr<const cpu::FftPlan<T>> CyclicPlan(Index n) {
  return cpu::fft_plan<T>((cpu::has_own_spectrum(n) ? n : cpu::padded_length(2 * n - 1)) / 2);
}

// What stands behind the n numbers of a sequence, up to the transform's length M.
enum class Continued {
  by_zeros,
  ahead,   // numbers n ... 2 n - 2 are 0 ... n - 2 again, for b[i + t]
  behind,  // numbers M - n + 1 ... M - 1 stand for -(n - 1) ... -1, for b[j - i]
};

// Begins the transform of the sequence value(0), ..., value(n - 1): its columns.
template <class T, class Value>
void CyclicForward(FftPanel<T>& panel, Index n, Continued how, const Value& value) {
  const Index length = 2 * panel.plan().length;
  const auto number = [&](Index j) HWY_ATTR {
    if (j < n) return value(j);
    if (how == Continued::ahead && j < 2 * n - 1) return value(j - n);
    if (how == Continued::behind && j > length - n) return value(j - length + n);
    return hn::Zero(FftLanes<T>());
  };
  panel.ForwardColumns([&](Index e, Index count, FftRows<T> to) HWY_ATTR {
    for (Index i = 0; i < count; ++i) to.Store({number(2 * (e + i)), number(2 * (e + i) + 1)}, i);
  });
}

// Ends both: the spectra of the panels `in` are completed run by run, product(spectra of in, spectra of out) makes
// numbers k and h - k of new ones, which take the places in `out` (panels of `in`) and are begun to be transformed
// back.
template <class T, std::size_t kIn, std::size_t kOut, class Product>
void CyclicProducts(const std::array<FftPanel<T>*, kIn>& in, const std::array<FftPanel<T>*, kOut>& out,
                    const Product& product) {
  const cpu::FftPlan<T>& plan = in[0]->plan();
  ForPairsOfRuns(plan, [&](const PairOfRuns& runs) HWY_ATTR {
    FftRows<T> low[kIn], high[kIn], low_out[kOut], high_out[kOut];
    for (std::size_t i = 0; i < kIn; ++i) {
      low[i] = in[i]->RunRows(runs.run);
      high[i] = in[i]->RunRows(runs.mirror);
      in[i]->ForwardRun(runs.run);
      if (!runs.IsOne()) in[i]->ForwardRun(runs.mirror);
    }
    for (std::size_t i = 0; i < kOut; ++i) {
      low_out[i] = out[i]->RunRows(runs.run);
      high_out[i] = out[i]->RunRows(runs.mirror);
    }
    const Spectral<T> first = Broadcast(plan.half_turns.data() + 2 * runs.run);
    const T* const turns = plan.run_half_turns.data();
    for (Index k2 = 0; k2 < runs.pairs; ++k2) {
      const Index opposite = runs.Opposite(k2);
      const Spectral<T> w = Times(first, Broadcast(turns + 2 * k2));
      SpectralPair<T> x[kIn], y[kOut];
      for (std::size_t i = 0; i < kIn; ++i) x[i] = Unpacked(low[i].Load(k2), high[i].Load(opposite), w);
      product(x, y);
      for (std::size_t i = 0; i < kOut; ++i) {
        const SpectralPair<T> z = Packed(y[i], w);
        low_out[i].Store(z.low, k2);
        high_out[i].Store(z.high, opposite);
      }
    }
    for (std::size_t i = 0; i < kOut; ++i) {
      out[i]->BackwardRun(runs.run);
      if (!runs.IsOne()) out[i]->BackwardRun(runs.mirror);
    }
  });
}

// What is kept of a task's sequences of one operand (spectra.h), written and read in one and the same order.
template <class T>
class KeptNumbers {
 public:
  using V = hn::Vec<FftLanes<T>>;

  KeptNumbers() = default;  // nothing is kept
  // `past` the caches when they are written, where they are whole aligned vectors.
  KeptNumbers(T* at, Index lanes, bool past)
      : at_(at),
        lanes_(lanes),
        streams_(past && lanes == kFftLanes<T> &&
                 reinterpret_cast<std::uintptr_t>(at) % (sizeof(T) * kFftLanes<T>) == 0) {}

  bool defined() const { return at_ != nullptr; }
  bool streams() const { return streams_; }  // to be flushed when all is put

  HWY_INLINE void Put(V x) {
    if (streams_)
      hn::Stream(x, FftLanes<T>(), at_);
    else
      StoreFirst<T>(x, at_, lanes_);
    at_ += lanes_;
  }
  HWY_INLINE V Take() {
    const V x = LoadFirst<T>(at_, lanes_);
    at_ += lanes_;
    return x;
  }
  HWY_INLINE void PutPair(const SpectralPair<T>& x) {
    Put(x.low.re);
    Put(x.low.im);
    Put(x.high.re);
    Put(x.high.im);
  }
  HWY_INLINE SpectralPair<T> TakePair() { return {{Take(), Take()}, {Take(), Take()}}; }  // braces keep the order

 private:
  T* at_ = nullptr;
  Index lanes_ = 0;
  bool streams_ = false;
};

// Of operands a and b.
template <class T>
using KeptOperands = std::array<KeptNumbers<T>, 2>;

// CyclicProducts of two spectra, which are kept where there is room.
template <class T, class Product>
void CyclicProducts(FftPanel<T>& a, FftPanel<T>& b, KeptOperands<T> kept, FftPanel<T>& out, const Product& product) {
  const std::array in = {&a, &b};
  if (!kept[0].defined()) return CyclicProducts(in, std::array{&out}, product);
  CyclicProducts(in, std::array{&out}, [&](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
    kept[0].PutPair(x[0]);
    kept[1].PutPair(x[1]);
    product(x, y);
  });
  if (kept[0].streams()) hwy::FlushStream();
}

// CyclicProducts of a spectrum with two that have been kept: two new ones, in the places of `up` and `other`.
template <class T, class Product>
void CyclicProductsOfKept(FftPanel<T>& up, KeptOperands<T> kept, FftPanel<T>& other, const Product& product) {
  CyclicProducts(std::array{&up}, std::array{&up, &other}, [&](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
    const SpectralPair<T> all[] = {x[0], kept[0].TakePair(), kept[1].TakePair()};
    product(all, y);
  });
}

// target(j, numbers) for j < n: the sequence of which CyclicProducts left the transform's runs.
template <class T, class Target>
void CyclicBackward(FftPanel<T>& panel, Index n, const Target& target) {
  panel.BackwardColumns([&](Index e, Index count, FftRows<T> from) HWY_ATTR {
    for (Index i = 0; i < count; ++i) {
      const Spectral<T> x = from.Load(i);
      const Index j = 2 * (e + i);
      if (j < n) target(j, x.re);
      if (j + 1 < n) target(j + 1, x.im);
    }
  });
}

// What a product of two spectra has to be multiplied by, as CyclicBackward gives it too large: two factors of 2 from
// Unpacked, one from Packed, and the inverse transform's M / 2.
template <class T>
T CyclicScale(const FftPanel<T>& panel) {
  return 1 / static_cast<T>(8 * panel.plan().length);
}

template <class T>
HWY_INLINE SpectralPair<T> Times(SpectralPair<T> a, SpectralPair<T> b) {
  return {Times(a.low, b.low), Times(a.high, b.high)};
}
template <class T>
HWY_INLINE SpectralPair<T> Conjugate(SpectralPair<T> a) {
  return {Conjugate(a.low), Conjugate(a.high)};
}
template <class T>
HWY_INLINE SpectralPair<T> Scaled(SpectralPair<T> a, T factor) {
  return {Scaled(a.low, factor), Scaled(a.high, factor)};
}

// The lanes of one vector of features of one sample, and the sample's length.
template <class T>
struct CyclicTask {
  FftRow<T> row;
  Index sample, feature, base, n, positions;  // feature: the first one; base: where the sample starts

  HWY_INLINE hn::Vec<FftLanes<T>> Load(const T* x, Index j) const { return row.Load(x + base, j); }
  HWY_INLINE void Store(hn::Vec<FftLanes<T>> v, T* x, Index j) const { row.Store(v, x + base, j); }
  void ZeroFrom(Index first, T* x) const {
    for (Index j = first; j < positions; ++j) Store(hn::Zero(FftLanes<T>()), x, j);
  }
};

// CyclicForward of the task's sequence in x, CyclicBackward to the one in `out`.
template <class T>
void CyclicForward(FftPanel<T>& panel, const CyclicTask<T>& task, Continued how, const T* x) {
  CyclicForward(panel, task.n, how, [&](Index j) HWY_ATTR { return task.Load(x, j); });
}
template <class T>
void CyclicBackward(FftPanel<T>& panel, const CyclicTask<T>& task, T* out) {
  CyclicBackward(panel, task.n, [&](Index j, auto numbers) HWY_ATTR { task.Store(numbers, out, j); });
}

// f(task) for every sample and vector of features of tensors like x [B, N, D].
template <class T, class F>
void ForCyclicTasks(const Tensor& x, const Mask& mask, const F& f) {
  const Index positions = x.dim(1), width = x.dim(2);
  const FftSignals<T> signals = {1, width};
  const Index vectors = signals.Vectors();
  const bool streams =  // results lie as x does, aligned
      StreamsLarge<FftNumbers::reals>(signals, x.data<T>(), x.size() * static_cast<Index>(sizeof(T)));
  parallel_for(x.dim(0) * vectors, 400 * positions, [&](Index number) HWY_ATTR {
    const Index b = number / vectors, vector = number % vectors;
    const CyclicTask<T> task = {FftRow<T>(signals, vector, positions, streams),
                                b,
                                vector * kFftLanes<T>,
                                b * positions * width,
                                prefix_length(mask, b, positions),
                                positions};
    f(task);
    task.row.FlushStores();
  });
}

// Where the tasks of ForCyclicTasks find what is kept of their sequences.
template <class T>
class KeptPlaces {
 public:
  KeptPlaces(CyclicSpectra spectra, const Tensor& x, const Mask& mask) {
    if (!spectra.a.defined()) return;
    a_ = spectra.a.data<T>();
    b_ = spectra.b.data<T>();
    starts_ = cpu::kept_starts(x, mask);
    past_ = 2 * starts_.back() * static_cast<Index>(sizeof(T)) >= kPastCaches;
  }

  KeptOperands<T> operator()(const CyclicTask<T>& task) const {
    const Index numbers = cpu::kept_numbers(task.n), lanes = task.row.lanes();
    if (a_ == nullptr || numbers == 0) return {};
    const Index start = starts_[static_cast<std::size_t>(task.sample)] + task.feature * numbers;
    return {KeptNumbers<T>(a_ + start, lanes, past_), KeptNumbers<T>(b_ + start, lanes, past_)};
  }

 private:
  // Bytes. Measured on 4 samples of 64 features, forward and backward: half of it is faster in the caches, this much
  // 1.1 times as fast past them, and forward as fast as without keeping.
  static constexpr Index kPastCaches = kLastCache / 4;

  T *a_ = nullptr, *b_ = nullptr;
  std::vector<Index> starts_;
  bool past_ = false;
};

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
