#include <cmath>

#include "subquad/kernels/elementwise/apply.cuh"
#include "subquad/kernels/elementwise/cuda.h"

namespace subquad::kernels::cuda {
namespace {

template <class T>
struct ApplyUnary {
  Unary function;

  __device__ T operator()(T v) const {
    switch (function) {
      case Unary::neg: return -v;
      case Unary::log: return std::log(v);
      case Unary::sqrt: return std::sqrt(v);
      case Unary::rsqrt: return 1 / std::sqrt(v);
      case Unary::relu: return v < 0 ? T(0) : v;
      case Unary::abs: return std::fabs(v);
      case Unary::sign: return T(v > 0) - T(v < 0);
      case Unary::square: return v * v;
      case Unary::reciprocal: return 1 / v;
    }
    return v;  // not reached
  }
};

template <class T>
struct ApplyWithNumber {
  WithNumber function;
  T number;

  __device__ T operator()(T v) const {
    switch (function) {
      case WithNumber::add: return v + number;
      case WithNumber::mul: return v * number;
      case WithNumber::pow: return std::pow(v, number);
    }
    return v;  // not reached
  }
};

}  // namespace

void unary(Unary function, const Tensor& x, Tensor& out) {
  const JointLayout layout(out.shape(), {out.strides(), x.strides()});
  visit_float("elementwise", out.dtype(), [&]<class T>(Type<T>) {
    apply("elementwise", layout, ApplyUnary<T>{function}, out.data<T>(), x.data<T>());
  });
}

void with_number(WithNumber function, const Tensor& x, double number, Tensor& out) {
  const JointLayout layout(out.shape(), {out.strides(), x.strides()});
  visit_float("elementwise", out.dtype(), [&]<class T>(Type<T>) {
    apply("elementwise", layout, ApplyWithNumber<T>{function, static_cast<T>(number)}, out.data<T>(), x.data<T>());
  });
}

}  // namespace subquad::kernels::cuda
