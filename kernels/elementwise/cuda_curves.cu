#include <cmath>

#include "subquad/kernels/elementwise/apply.cuh"
#include "subquad/kernels/elementwise/cuda.h"
#include "subquad/kernels/warp/gelu.cuh"

namespace subquad::kernels::cuda {
namespace {

template <class T>
struct ApplyCurve {
  Curve function;

  __device__ T operator()(T v) const {
    switch (function) {
      case Curve::exp: return std::exp(v);
      case Curve::tanh: return std::tanh(v);
      case Curve::sigmoid: return 1 / (1 + std::exp(-v));
      case Curve::gelu: return v * normal_cdf(v);
    }
    return v;  // not reached
  }
};

template <class T>
struct ApplyGeluGrad {
  __device__ T operator()(T dout, T z) const { return dout * gelu(z).slope; }
};

}  // namespace

void curve(Curve function, const Tensor& x, Tensor& out) {
  const JointLayout layout(out.shape(), {out.strides(), x.strides()});
  visit_float("elementwise", out.dtype(), [&]<class T>(Type<T>) {
    apply("elementwise", layout, ApplyCurve<T>{function}, out.data<T>(), x.data<T>());
  });
}

void gelu_grad(const Tensor& dout, const Tensor& x, Tensor& dx) {
  const JointLayout layout(dx.shape(), {dx.strides(), dout.strides(), x.strides()});
  visit_float("gelu_grad", dx.dtype(), [&]<class T>(Type<T>) {
    apply("gelu_grad", layout, ApplyGeluGrad<T>{}, dx.data<T>(), dout.data<T>(), x.data<T>());
  });
}

}  // namespace subquad::kernels::cuda
