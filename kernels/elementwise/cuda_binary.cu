#include "subquad/kernels/elementwise/apply.cuh"
#include "subquad/kernels/elementwise/cuda.h"

namespace subquad::kernels::cuda {
namespace {

template <class T>
struct ApplyBinary {
  Binary function;

  __device__ T operator()(T u, T v) const {
    switch (function) {
      case Binary::add: return u + v;
      case Binary::sub: return u - v;
      case Binary::mul: return u * v;
      case Binary::div: return u / v;
      case Binary::maximum: return u > v || u != u ? u : v;
      case Binary::minimum: return u < v || u != u ? u : v;
      case Binary::relu_grad: return v > 0 ? u : T(0);
    }
    return u;  // not reached
  }
};

template <class T>
struct ApplyComparison {
  Comparison function;

  __device__ bool operator()(T u, T v) const {
    switch (function) {
      case Comparison::equal: return u == v;
      case Comparison::not_equal: return u != v;
      case Comparison::less: return u < v;
      case Comparison::less_equal: return u <= v;
      case Comparison::greater: return u > v;
      case Comparison::greater_equal: return u >= v;
    }
    return false;  // not reached
  }
};

template <class T>
struct Choose {
  __device__ T operator()(bool first, T a, T b) const { return first ? a : b; }
};

template <class T>
struct AddScaled {
  T factor;
  __device__ T operator()(T y, T x) const { return y + factor * x; }
};

template <class T>
struct Scale {
  T factor;
  __device__ T operator()(T y) const { return y * factor; }
};

}  // namespace

void binary(Binary function, const Tensor& a, const Tensor& b, Tensor& out) {
  const JointLayout layout(out.shape(), {out.strides(), a.strides(), b.strides()});
  visit_float("elementwise", out.dtype(), [&]<class T>(Type<T>) {
    apply("elementwise", layout, ApplyBinary<T>{function}, out.data<T>(), a.data<T>(), b.data<T>());
  });
}

void comparison(Comparison function, const Tensor& a, const Tensor& b, Tensor& out) {
  const JointLayout layout(out.shape(), {out.strides(), a.strides(), b.strides()});
  visit_number("elementwise", a.dtype(), [&]<class T>(Type<T>) {
    apply("elementwise", layout, ApplyComparison<T>{function}, out.data<bool>(), a.data<T>(), b.data<T>());
  });
}

void where(const Tensor& cond, const Tensor& a, const Tensor& b, Tensor& out) {
  const JointLayout layout(out.shape(), {out.strides(), cond.strides(), a.strides(), b.strides()});
  visit_number("where", out.dtype(), [&]<class T>(Type<T>) {
    apply("where", layout, Choose<T>{}, out.data<T>(), cond.data<bool>(), a.data<T>(), b.data<T>());
  });
}

void scale_into(Tensor& out, double factor) {
  const JointLayout layout(out.shape(), {out.strides(), out.strides()});
  visit_float("scale_into", out.dtype(), [&]<class T>(Type<T>) {
    T* const y = out.data<T>();
    apply("scale_into", layout, Scale<T>{static_cast<T>(factor)}, y, static_cast<const T*>(y));
  });
}

void axpy_into(Tensor& out, double factor, const Tensor& x) {
  const JointLayout layout(out.shape(), {out.strides(), out.strides(), x.strides()});
  visit_float("axpy_into", out.dtype(), [&]<class T>(Type<T>) {
    T* const y = out.data<T>();
    apply("axpy_into", layout, AddScaled<T>{static_cast<T>(factor)}, y, static_cast<const T*>(y), x.data<T>());
  });
}

}  // namespace subquad::kernels::cuda
