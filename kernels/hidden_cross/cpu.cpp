#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/hidden_cross/cpu.cpp"
#include "subquad/kernels/hidden_cross/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/kernels/circular/cyclic-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
using Numbers = hn::Vec<FftLanes<T>>;

// The means over j < n of each of the values(j); 64 at a time, so that the sum of a long sequence keeps its digits.
template <class T, class Values>
HWY_INLINE auto Means(Index n, const Values& values) {
  const FftLanes<T> d;
  decltype(values(0)) zeros;
  for (auto& zero : zeros) zero = hn::Zero(d);
  auto sums = zeros;
  for (Index begin = 0; begin < n; begin += 64) {
    auto parts = zeros;
    for (Index j = begin; j < std::min(n, begin + 64); ++j) {
      const auto next = values(j);
      for (std::size_t i = 0; i < next.size(); ++i) parts[i] = hn::Add(parts[i], next[i]);
    }
    for (std::size_t i = 0; i < parts.size(); ++i) sums[i] = hn::Add(sums[i], parts[i]);
  }
  for (auto& sum : sums) sum = hn::Div(sum, hn::Set(d, static_cast<T>(n)));
  return sums;
}

template <class T>
HWY_INLINE Numbers<T> MeanOf(const CyclicTask<T>& task, const T* x) {
  return Means<T>(task.n, [&](Index j) HWY_ATTR { return std::array{task.Load(x, j)}; })[0];
}

// What is kept of a sequence is its mean and the spectrum of the centred sequence.
template <class T>
void Cross(const CyclicTask<T>& task, const T* a, const T* b, const T* shift, KeptOperands<T> kept, T* lag, T* col) {
  const Index n = task.n;
  task.ZeroFrom(n, lag);
  task.ZeroFrom(n, col);
  if (n == 0) return;
  const auto plan = CyclicPlan<T>(n);
  const FftLines<T> lines(*plan);
  FftPanel<T> first(*plan, lines), second(*plan, lines);
  const auto a_mean = MeanOf(task, a);
  CyclicForward(first, n, Continued::by_zeros, [&](Index j) HWY_ATTR { return hn::Sub(task.Load(a, j), a_mean); });
  const auto a_level = shift == nullptr ? a_mean : hn::Add(a_mean, task.row.Load(shift, 0));
  const auto b_mean = MeanOf(task, b);
  CyclicForward(second, n, Continued::ahead, [&](Index j) HWY_ATTR {  // some j are asked for twice, and stored twice
    const auto y = hn::Sub(task.Load(b, j), b_mean);
    task.Store(hn::Mul(a_level, y), col, j);
    return y;
  });
  if (kept[0].defined()) {
    kept[0].Put(a_mean);
    kept[1].Put(b_mean);
  }
  const T scale = CyclicScale(first) / static_cast<T>(n);
  CyclicProducts(first, second, kept, first, [=](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
    y[0] = Scaled(Times(Conjugate(x[0]), x[1]), scale);
  });
  CyclicBackward(first, task, lag);
}

template <class T>
void CrossGrad(const CyclicTask<T>& task, const T* dlag, const T* dcol, const T* a, const T* b, const T* shift,
               KeptOperands<T> kept, T* da, T* db, T* dshift_part) {
  const Index n = task.n;
  task.ZeroFrom(n, da);
  task.ZeroFrom(n, db);
  if (n == 0) {
    if (shift != nullptr) task.row.Store(hn::Zero(FftLanes<T>()), dshift_part, 0);
    return;
  }
  const bool keeps = kept[0].defined();
  const auto a_mean = keeps ? kept[0].Take() : MeanOf(task, a), b_mean = keeps ? kept[1].Take() : MeanOf(task, b);
  const auto centred_a = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(a, j), a_mean); };
  const auto centred_b = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(b, j), b_mean); };

  const auto plan = CyclicPlan<T>(n);
  const FftLines<T> lines(*plan);
  FftPanel<T> up(*plan, lines), first(*plan, lines);
  CyclicForward(up, task, Continued::by_zeros, dlag);
  const T scale = CyclicScale(up) / static_cast<T>(n);
  const auto gradients = [=](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
    y[0] = Scaled(Times(Conjugate(x[0]), x[2]), scale);  // dat: e correlated with bt
    y[1] = Scaled(Times(x[0], x[1]), scale);             // dbt: e convolved with at
  };
  if (keeps) {
    CyclicProductsOfKept(up, kept, first, gradients);
  } else {
    FftPanel<T> second(*plan, lines);
    CyclicForward(first, n, Continued::behind, centred_a);
    CyclicForward(second, n, Continued::ahead, centred_b);
    CyclicProducts(std::array{&up, &first, &second}, std::array{&up, &first}, gradients);
  }
  const auto [up_mean, columns] = Means<T>(n, [&](Index j) HWY_ATTR {
    const auto up_j = task.Load(dcol, j);
    return std::array{up_j, hn::Mul(up_j, centred_b(j))};
  });
  const auto a_level = shift == nullptr ? a_mean : hn::Add(a_mean, task.row.Load(shift, 0));
  if (shift != nullptr) task.row.Store(hn::Mul(columns, hn::Set(FftLanes<T>(), static_cast<T>(n))), dshift_part, 0);
  CyclicBackward(up, n, [&](Index j, Numbers<T> x) HWY_ATTR { task.Store(hn::Add(x, columns), da, j); });
  CyclicBackward(first, n, [&](Index j, Numbers<T> x) HWY_ATTR {
    task.Store(hn::MulAdd(a_level, hn::Sub(task.Load(dcol, j), up_mean), x), db, j);
  });
}

template <class T>
const T* DataOrNull(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void HiddenCrossTensors(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift,
                        const CyclicSpectra& keep, HiddenCross& out) {
  visit_float("hidden_cross", a.dtype(), [&]<class T>(Type<T>) {
    const KeptPlaces<T> kept(keep, a, mask);
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      Cross(task, a.data<T>(), b.data<T>(), DataOrNull<T>(shift), kept(task), out.lag.data<T>(), out.col.data<T>());
    });
  });
}

void HiddenCrossGradTensors(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            const Tensor& shift, const CyclicSpectra& spectra, HiddenCrossGrads& grads) {
  visit_float("hidden_cross_grad", a.dtype(), [&]<class T>(Type<T>) {
    const KeptPlaces<T> kept(spectra, a, mask);
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      T* const part = shift.defined() ? grads.dshift_parts.data<T>() + task.sample * a.dim(2) : nullptr;
      CrossGrad(task, dlag.data<T>(), dcol.data<T>(), a.data<T>(), b.data<T>(), DataOrNull<T>(shift), kept(task),
                grads.da.data<T>(), grads.db.data<T>(), part);
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(HiddenCrossTensors);
HWY_EXPORT(HiddenCrossGradTensors);

void cpu::hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift,
                       const CyclicSpectra& keep, HiddenCross& out) {
  SUBQUAD_DISPATCH(HiddenCrossTensors)(a, b, mask, shift, keep, out);
}

void cpu::hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            const Tensor& shift, const CyclicSpectra& spectra, HiddenCrossGrads& grads) {
  SUBQUAD_DISPATCH(HiddenCrossGradTensors)(dlag, dcol, a, b, mask, shift, spectra, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
