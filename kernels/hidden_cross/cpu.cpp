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
void Cross(const CyclicTask<T>& task, const T* a, const T* b, T* lag, T* col) {
  const Index n = task.n;
  task.ZeroFrom(n, lag);
  task.ZeroFrom(n, col);
  if (n == 0) return;
  const auto load = [&](const T* x) { return [&task, x](Index j) HWY_ATTR { return task.Load(x, j); }; };
  const auto a_mean = Mean<T>(n, load(a)), b_mean = Mean<T>(n, load(b));
  const auto centred_a = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(a, j), a_mean); };
  const auto centred_b = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(b, j), b_mean); };

  for (Index j = 0; j < n; ++j) task.Store(hn::Mul(a_mean, centred_b(j)), col, j);
  const auto plan = CyclicPlan<T>(n);
  FftPanel<T> first(*plan), second(*plan);
  CyclicForward(first, n, Continued::by_zeros, centred_a);
  CyclicForward(second, n, Continued::ahead, centred_b);
  ForPairs(first, [&](Index /*k*/, const FftCursor& low, const FftCursor& high, const T* w) HWY_ATTR {
    const SpectralPair<T> x = LoadPair(first, low, high, w), y = LoadPair(second, low, high, w);
    StorePair(Product(Conjugate(x), y), first, low, high, w);
  });
  CyclicBackward(first, n, CyclicScale(first) / static_cast<T>(n),
                 [&](Index t, Numbers<T> x) HWY_ATTR { task.Store(x, lag, t); });
}

template <class T>
void CrossGrad(const CyclicTask<T>& task, const T* dlag, const T* dcol, const T* a, const T* b, T* da, T* db) {
  const Index n = task.n;
  task.ZeroFrom(n, da);
  task.ZeroFrom(n, db);
  if (n == 0) return;
  const auto load = [&](const T* x) { return [&task, x](Index j) HWY_ATTR { return task.Load(x, j); }; };
  const auto a_mean = Mean<T>(n, load(a)), b_mean = Mean<T>(n, load(b));
  const auto centred_a = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(a, j), a_mean); };
  const auto centred_b = [&](Index j) HWY_ATTR { return hn::Sub(task.Load(b, j), b_mean); };

  const auto plan = CyclicPlan<T>(n);
  FftPanel<T> up(*plan), first(*plan), second(*plan);
  CyclicForward(up, n, Continued::by_zeros, load(dlag));
  CyclicForward(first, n, Continued::behind, centred_a);
  CyclicForward(second, n, Continued::ahead, centred_b);
  ForPairs(up, [&](Index /*k*/, const FftCursor& low, const FftCursor& high, const T* w) HWY_ATTR {
    const SpectralPair<T> e = LoadPair(up, low, high, w);
    const SpectralPair<T> x = LoadPair(first, low, high, w), y = LoadPair(second, low, high, w);
    StorePair(Product(Conjugate(e), y), second, low, high, w);  // dat: e correlated with bt
    StorePair(Product(e, x), first, low, high, w);              // dbt: e convolved with at
  });
  const T scale = CyclicScale(up) / static_cast<T>(n);
  CyclicBackward(second, n, scale, [&](Index j, Numbers<T> x) HWY_ATTR { task.Store(x, da, j); });
  CyclicBackward(first, n, scale,
                 [&](Index j, Numbers<T> x) HWY_ATTR { task.Store(hn::MulAdd(a_mean, task.Load(dcol, j), x), db, j); });

  // da = dat - mean(dat) + mean(dcol bt)      db = dbt - mean(dbt)
  const auto columns = Mean<T>(n, [&](Index j) HWY_ATTR { return hn::Mul(task.Load(dcol, j), centred_b(j)); });
  const auto shift_a = hn::Sub(columns, Mean<T>(n, load(da))), shift_b = Mean<T>(n, load(db));
  for (Index j = 0; j < n; ++j) {
    task.Store(hn::Add(task.Load(da, j), shift_a), da, j);
    task.Store(hn::Sub(task.Load(db, j), shift_b), db, j);
  }
}

}  // namespace

void HiddenCrossTensors(const Tensor& a, const Tensor& b, const Mask& mask, HiddenCross& out) {
  visit_float("hidden_cross", a.dtype(), [&]<class T>(Type<T>) {
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      Cross(task, a.data<T>(), b.data<T>(), out.lag.data<T>(), out.col.data<T>());
    });
  });
}

void HiddenCrossGradTensors(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            HiddenCrossGrads& grads) {
  visit_float("hidden_cross_grad", a.dtype(), [&]<class T>(Type<T>) {
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      CrossGrad(task, dlag.data<T>(), dcol.data<T>(), a.data<T>(), b.data<T>(), grads.da.data<T>(), grads.db.data<T>());
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(HiddenCrossTensors);
HWY_EXPORT(HiddenCrossGradTensors);

void cpu::hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, HiddenCross& out) {
  SUBQUAD_DISPATCH(HiddenCrossTensors)(a, b, mask, out);
}

void cpu::hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            HiddenCrossGrads& grads) {
  SUBQUAD_DISPATCH(HiddenCrossGradTensors)(dlag, dcol, a, b, mask, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
