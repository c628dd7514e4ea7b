#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/circular/cpu.cpp"
#include "subquad/kernels/circular/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "subquad/kernels/circular/cyclic-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
void Circular(const CyclicTask<T>& task, const T* a, const T* b, bool correlate, T* out) {
  task.ZeroFrom(task.n, out);
  if (task.n == 0) return;
  const auto plan = CyclicPlan<T>(task.n);
  const FftLines<T> lines(*plan);
  FftPanel<T> first(*plan, lines), second(*plan, lines);
  CyclicForward(first, task.n, Continued::by_zeros, [&](Index j) HWY_ATTR { return task.Load(a, j); });
  CyclicForward(second, task.n, correlate ? Continued::ahead : Continued::behind,
                [&](Index j) HWY_ATTR { return task.Load(b, j); });
  CyclicProducts(std::array{&first, &second}, std::array{&first},
                 [=](const SpectralPair<T>* x, SpectralPair<T>* y)
                     HWY_ATTR { y[0] = Times(correlate ? Conjugate(x[0]) : x[0], x[1]); });
  CyclicBackward(first, task.n, CyclicScale(first),
                 [&](Index j, auto numbers) HWY_ATTR { task.Store(numbers, out, j); });
}

}  // namespace

void CircularTensor(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, Tensor& out) {
  visit_float("circular", a.dtype(), [&]<class T>(Type<T>) {
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      Circular(task, a.data<T>(), b.data<T>(), correlate, out.data<T>());
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(CircularTensor);

void cpu::circular(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, Tensor& out) {
  SUBQUAD_DISPATCH(CircularTensor)(a, b, mask, correlate, out);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
