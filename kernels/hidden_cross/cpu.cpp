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

// The mean of value(0), ..., value(n - 1); 64 at a time, so that the sum of a long sequence keeps its digits.
template <class T, class Value>
HWY_INLINE Numbers<T> Mean(Index n, const Value& value) {
  const FftLanes<T> d;
  auto sum = hn::Zero(d);
  for (Index begin = 0; begin < n; begin += 64) {
    auto part = hn::Zero(d);
    for (Index j = begin; j < std::min(n, begin + 64); ++j) part = hn::Add(part, value(j));
    sum = hn::Add(sum, part);
  }
  return hn::Div(sum, hn::Set(d, static_cast<T>(n)));
}

template <class T>
void Cross(const CyclicTask<T>& task, const T* a, const T* b, const T* shift, T* lag, T* col) {
  const Index n = task.n;
  task.ZeroFrom(n, lag);
  task.ZeroFrom(n, col);
  if (n == 0) return;
  const auto load = [&](const T* x) { return [&task, x](Index j) HWY_ATTR { return task.Load(x, j); }; };
  const auto a_mean = Mean<T>(n, load(a)), b_mean = Mean<T>(n, load(b));
  const auto centred_a = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(a, j), a_mean); };
  const auto centred_b = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(b, j), b_mean); };

  const auto plan = CyclicPlan<T>(n);
  const FftLines<T> lines(*plan);
  FftPanel<T> first(*plan, lines), second(*plan, lines);
  CyclicForward(first, n, Continued::by_zeros, centred_a);
  const auto a_level = shift == nullptr ? a_mean : hn::Add(a_mean, task.row.Load(shift, 0));
  CyclicForward(second, n, Continued::ahead, [&](Index j) HWY_ATTR {  // some j are asked for twice, and stored twice
    const auto y = centred_b(j);
    task.Store(hn::Mul(a_level, y), col, j);
    return y;
  });
  const T scale = CyclicScale(first) / static_cast<T>(n);
  CyclicProducts(std::array{&first, &second}, std::array{&first},
                 [=](const SpectralPair<T>* x, SpectralPair<T>* y)
                     HWY_ATTR { y[0] = Scaled(Times(Conjugate(x[0]), x[1]), scale); });
  CyclicBackward(first, task, lag);
}

template <class T>
void CrossGrad(const CyclicTask<T>& task, const T* dlag, const T* dcol, const T* a, const T* b, const T* shift, T* da,
               T* db, T* dshift_part) {
  const Index n = task.n;
  task.ZeroFrom(n, da);
  task.ZeroFrom(n, db);
  if (n == 0) {
    if (shift != nullptr) task.row.Store(hn::Zero(FftLanes<T>()), dshift_part, 0);
    return;
  }
  const auto load = [&](const T* x) { return [&task, x](Index j) HWY_ATTR { return task.Load(x, j); }; };
  const auto a_mean = Mean<T>(n, load(a)), b_mean = Mean<T>(n, load(b));
  const auto centred_a = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(a, j), a_mean); };
  const auto centred_b = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(b, j), b_mean); };

  const auto plan = CyclicPlan<T>(n);
  const FftLines<T> lines(*plan);
  FftPanel<T> up(*plan, lines), first(*plan, lines), second(*plan, lines);
  CyclicForward(up, task, Continued::by_zeros, dlag);
  CyclicForward(first, n, Continued::behind, centred_a);
  CyclicForward(second, n, Continued::ahead, centred_b);
  const T scale = CyclicScale(up) / static_cast<T>(n);
  CyclicProducts(std::array{&up, &first, &second}, std::array{&first, &second},
                 [=](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
                   y[0] = Scaled(Times(x[0], x[1]), scale);             // dbt: e convolved with at
                   y[1] = Scaled(Times(Conjugate(x[0]), x[2]), scale);  // dat: e correlated with bt
                 });
  const auto up_mean = Mean<T>(n, load(dcol));
  const auto columns = Mean<T>(n, [&](Index j) HWY_ATTR { return hn::Mul(task.Load(dcol, j), centred_b(j)); });
  const auto a_level = shift == nullptr ? a_mean : hn::Add(a_mean, task.row.Load(shift, 0));
  if (shift != nullptr) task.row.Store(hn::Mul(columns, hn::Set(FftLanes<T>(), static_cast<T>(n))), dshift_part, 0);
  CyclicBackward(second, n, [&](Index j, Numbers<T> x) HWY_ATTR { task.Store(hn::Add(x, columns), da, j); });
  CyclicBackward(first, n, [&](Index j, Numbers<T> x) HWY_ATTR {
    task.Store(hn::MulAdd(a_level, hn::Sub(task.Load(dcol, j), up_mean), x), db, j);
  });
}

template <class T>
const T* DataOrNull(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

void HiddenCrossTensors(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift, HiddenCross& out) {
  visit_float("hidden_cross", a.dtype(), [&]<class T>(Type<T>) {
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      Cross(task, a.data<T>(), b.data<T>(), DataOrNull<T>(shift), out.lag.data<T>(), out.col.data<T>());
    });
  });
}

void HiddenCrossGradTensors(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            const Tensor& shift, HiddenCrossGrads& grads) {
  visit_float("hidden_cross_grad", a.dtype(), [&]<class T>(Type<T>) {
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      T* const part = shift.defined() ? grads.dshift_parts.data<T>() + task.sample * a.dim(2) : nullptr;
      CrossGrad(task, dlag.data<T>(), dcol.data<T>(), a.data<T>(), b.data<T>(), DataOrNull<T>(shift),
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

void cpu::hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift, HiddenCross& out) {
  SUBQUAD_DISPATCH(HiddenCrossTensors)(a, b, mask, shift, out);
}

void cpu::hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            const Tensor& shift, HiddenCrossGrads& grads) {
  SUBQUAD_DISPATCH(HiddenCrossGradTensors)(dlag, dcol, a, b, mask, shift, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
