#include <cmath>

#include "subquad/kernels/elementwise/cpu.h"
#include "subquad/kernels/elementwise/loop_nest.h"

namespace subquad::kernels::cpu {
namespace {

// Rough operations per element, for parallel_for: a function of the C library costs that of many additions.
constexpr Index kCheap = 1;
constexpr Index kCostly = 20;

// out[i] = f(x[i]).
template <class T, class F>
void map(Index work, const Tensor& x, Tensor& out, F f) {
  const LoopNest nest(out.shape(), {out.strides(), x.strides()});
  const T* source = x.data<T>();
  T* target = out.data<T>();
  const Index step = nest.inner_stride(1);
  nest.for_each_run(work, [&](const LoopNest::Offsets& at, Index count) {
    const T* a = source + at[1];
    T* y = target + at[0];
    if (step == 1) {
      for (Index i = 0; i < count; ++i) y[i] = f(a[i]);
    } else {
      for (Index i = 0; i < count; ++i) y[i] = f(a[i * step]);
    }
  });
}

template <class T>
void apply(Unary function, const Tensor& x, Tensor& out) {
  switch (function) {
    case Unary::neg: return map<T>(kCheap, x, out, [](T v) { return -v; });
    case Unary::log: return map<T>(kCostly, x, out, [](T v) { return std::log(v); });
    case Unary::sqrt: return map<T>(kCheap, x, out, [](T v) { return std::sqrt(v); });
    case Unary::rsqrt: return map<T>(kCheap, x, out, [](T v) { return 1 / std::sqrt(v); });
    case Unary::relu: return map<T>(kCheap, x, out, [](T v) { return v < 0 ? T(0) : v; });
    case Unary::abs: return map<T>(kCheap, x, out, [](T v) { return std::fabs(v); });
    case Unary::sign: return map<T>(kCheap, x, out, [](T v) { return T(v > 0) - T(v < 0); });
    case Unary::square: return map<T>(kCheap, x, out, [](T v) { return v * v; });
    case Unary::reciprocal: return map<T>(kCheap, x, out, [](T v) { return 1 / v; });
  }
}

template <class T>
void apply(WithNumber function, const Tensor& x, T number, Tensor& out) {
  switch (function) {
    case WithNumber::add: return map<T>(kCheap, x, out, [number](T v) { return v + number; });
    case WithNumber::mul: return map<T>(kCheap, x, out, [number](T v) { return v * number; });
    case WithNumber::pow: return map<T>(kCostly, x, out, [number](T v) { return std::pow(v, number); });
  }
}

}  // namespace

void unary(Unary function, const Tensor& x, Tensor& out) {
  visit_float("elementwise", out.dtype(), [&]<class T>(Type<T>) { apply<T>(function, x, out); });
}

void with_number(WithNumber function, const Tensor& x, double number, Tensor& out) {
  visit_float("elementwise", out.dtype(),
              [&]<class T>(Type<T>) { apply<T>(function, x, static_cast<T>(number), out); });
}

}  // namespace subquad::kernels::cpu
