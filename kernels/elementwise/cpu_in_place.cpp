#include "subquad/kernels/elementwise/cpu.h"
#include "subquad/kernels/elementwise/loop_nest.h"

namespace subquad::kernels::cpu {

void scale_into(Tensor& out, double factor) {
  const LoopNest nest(out.shape(), {out.strides()});
  const Index step = nest.inner_stride(0);
  visit_float("scale_into", out.dtype(), [&]<class T>(Type<T>) {
    T* target = out.data<T>();
    const T a = static_cast<T>(factor);
    nest.for_each_run(1, [&](const LoopNest::Offsets& at, Index count) {
      T* y = target + at[0];
      if (step == 1) {
        for (Index i = 0; i < count; ++i) y[i] *= a;
      } else {
        for (Index i = 0; i < count; ++i) y[i * step] *= a;
      }
    });
  });
}

void axpy_into(Tensor& out, double factor, const Tensor& x) {
  const LoopNest nest(out.shape(), {out.strides(), x.strides()});
  const Index step = nest.inner_stride(0), x_step = nest.inner_stride(1);
  visit_float("axpy_into", out.dtype(), [&]<class T>(Type<T>) {
    T* target = out.data<T>();
    const T* source = x.data<T>();
    const T a = static_cast<T>(factor);
    nest.for_each_run(1, [&](const LoopNest::Offsets& at, Index count) {
      T* y = target + at[0];
      const T* v = source + at[1];
      if (step == 1 && x_step == 1) {
        for (Index i = 0; i < count; ++i) y[i] += a * v[i];
      } else {
        for (Index i = 0; i < count; ++i) y[i * step] += a * v[i * x_step];
      }
    });
  });
}

}  // namespace subquad::kernels::cpu
