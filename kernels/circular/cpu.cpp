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
void Circular(const CyclicTask<T>& task, const T* a, const T* b, bool correlate, const KeptOperands<T>& kept, T* out) {
  task.ZeroFrom(task.n, out);
  if (task.n == 0) return;
  const auto plan = CyclicPlan<T>(task.n);
  const FftLines<T> lines(*plan);
  FftPanel<T> first(*plan, lines), second(*plan, lines);
  CyclicForward(first, task, Continued::by_zeros, a);
  CyclicForward(second, task, correlate ? Continued::ahead : Continued::behind, b);
  const T scale = CyclicScale(first);
  CyclicProducts(first, second, kept, first, [=](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
    y[0] = Scaled(Times(correlate ? Conjugate(x[0]) : x[0], x[1]), scale);
  });
  CyclicBackward(first, task, out);
}

// Both gradients from three spectra; each number as Circular of circular.h's rules would make it.
template <class T>
void CircularGrad(const CyclicTask<T>& task, const T* dout, const T* a, const T* b, bool correlate,
                  const KeptOperands<T>& kept, T* da, T* db) {
  task.ZeroFrom(task.n, da);
  task.ZeroFrom(task.n, db);
  if (task.n == 0) return;
  const auto plan = CyclicPlan<T>(task.n);
  const FftLines<T> lines(*plan);
  FftPanel<T> up(*plan, lines), first(*plan, lines);
  CyclicForward(up, task, correlate ? Continued::by_zeros : Continued::ahead, dout);
  const T scale = CyclicScale(up);
  const auto gradients = [=](const SpectralPair<T>* x, SpectralPair<T>* y) HWY_ATTR {
    y[0] = Scaled(correlate ? Times(Conjugate(x[0]), x[2]) : Times(Conjugate(x[2]), x[0]), scale);  // da
    y[1] = Scaled(correlate ? Times(x[0], x[1]) : Times(Conjugate(x[1]), x[0]), scale);             // db
  };
  if (kept[0].defined()) {
    CyclicProductsOfKept(up, kept, first, gradients);
  } else {
    FftPanel<T> second(*plan, lines);
    CyclicForward(first, task, correlate ? Continued::behind : Continued::by_zeros, a);
    CyclicForward(second, task, correlate ? Continued::ahead : Continued::by_zeros, b);
    CyclicProducts(std::array{&up, &first, &second}, std::array{&up, &first}, gradients);
  }
  CyclicBackward(up, task, da);
  CyclicBackward(first, task, db);
}

}  // namespace

void CircularTensor(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, const CyclicSpectra& keep,
                    Tensor& out) {
  visit_float("circular", a.dtype(), [&]<class T>(Type<T>) {
    const KeptPlaces<T> kept(keep, a, mask);
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      Circular(task, a.data<T>(), b.data<T>(), correlate, kept(task), out.data<T>());
    });
  });
}

void CircularGradTensors(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask, bool correlate,
                         const CyclicSpectra& spectra, CircularGrads& grads) {
  visit_float("circular_grad", a.dtype(), [&]<class T>(Type<T>) {
    const KeptPlaces<T> kept(spectra, a, mask);
    ForCyclicTasks<T>(a, mask, [&](const CyclicTask<T>& task) HWY_ATTR {
      CircularGrad(task, dout.data<T>(), a.data<T>(), b.data<T>(), correlate, kept(task), grads.da.data<T>(),
                   grads.db.data<T>());
    });
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(CircularTensor);
HWY_EXPORT(CircularGradTensors);

void cpu::circular(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, const CyclicSpectra& keep,
                   Tensor& out) {
  SUBQUAD_DISPATCH(CircularTensor)(a, b, mask, correlate, keep, out);
}

void cpu::circular_grad(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask, bool correlate,
                        const CyclicSpectra& spectra, CircularGrads& grads) {
  SUBQUAD_DISPATCH(CircularGradTensors)(dout, a, b, mask, correlate, spectra, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
