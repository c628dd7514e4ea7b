#include <algorithm>
#include <bit>
#include <type_traits>

#include "subquad/kernels/elementwise/cpu.h"
#include "subquad/kernels/elementwise/loop_nest.h"

namespace subquad::kernels::cpu {
namespace {

// out[i] = f(a[i], b[i]). The inner loop has a flat form for equal layouts and for one operand that stands still (a
// scalar, or a broadcast last axis); any other layout takes the strided one.
template <class In, class Out, class F>
void zip(Index work, const Tensor& a, const Tensor& b, Tensor& out, F f) {
  const LoopNest nest(out.shape(), {out.strides(), a.strides(), b.strides()});
  const In* left = a.data<In>();
  const In* right = b.data<In>();
  Out* target = out.data<Out>();
  const Index p = nest.inner_stride(1), q = nest.inner_stride(2);
  nest.for_each_run(work, [&](const LoopNest::Offsets& at, Index count) {
    Out* y = target + at[0];
    const In* u = left + at[1];
    const In* v = right + at[2];
    if (p == 1 && q == 1) {
      for (Index i = 0; i < count; ++i) y[i] = f(u[i], v[i]);
    } else if (p == 1 && q == 0) {
      for (Index i = 0; i < count; ++i) y[i] = f(u[i], *v);
    } else if (p == 0 && q == 1) {
      for (Index i = 0; i < count; ++i) y[i] = f(*u, v[i]);
    } else {
      for (Index i = 0; i < count; ++i) y[i] = f(u[i * p], v[i * q]);
    }
  });
}

template <class T>
void apply(Binary function, const Tensor& a, const Tensor& b, Tensor& out) {
  switch (function) {
    case Binary::add: return zip<T, T>(1, a, b, out, [](T u, T v) { return u + v; });
    case Binary::sub: return zip<T, T>(1, a, b, out, [](T u, T v) { return u - v; });
    case Binary::mul: return zip<T, T>(1, a, b, out, [](T u, T v) { return u * v; });
    case Binary::div: return zip<T, T>(1, a, b, out, [](T u, T v) { return u / v; });
    case Binary::maximum: return zip<T, T>(1, a, b, out, [](T u, T v) { return u > v || u != u ? u : v; });
    case Binary::minimum: return zip<T, T>(1, a, b, out, [](T u, T v) { return u < v || u != u ? u : v; });
    case Binary::relu_grad: return zip<T, T>(1, a, b, out, [](T dout, T x) { return x > 0 ? dout : T(0); });
  }
}

template <class T>
void apply(Comparison function, const Tensor& a, const Tensor& b, Tensor& out) {
  switch (function) {
    case Comparison::equal: return zip<T, bool>(1, a, b, out, [](T u, T v) { return u == v; });
    case Comparison::not_equal: return zip<T, bool>(1, a, b, out, [](T u, T v) { return u != v; });
    case Comparison::less: return zip<T, bool>(1, a, b, out, [](T u, T v) { return u < v; });
    case Comparison::less_equal: return zip<T, bool>(1, a, b, out, [](T u, T v) { return u <= v; });
    case Comparison::greater: return zip<T, bool>(1, a, b, out, [](T u, T v) { return u > v; });
    case Comparison::greater_equal: return zip<T, bool>(1, a, b, out, [](T u, T v) { return u >= v; });
  }
}

template <class T>
T choose(bool first, T a, T b) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const Bits mask = Bits{0} - static_cast<Bits>(first);
  return std::bit_cast<T>((std::bit_cast<Bits>(a) & mask) | (std::bit_cast<Bits>(b) & ~mask));
}

template <class T>
void copy_run(const T* from, Index step, Index count, T* to) {
  if (step == 1)
    std::copy_n(from, count, to);
  else
    for (Index i = 0; i < count; ++i) to[i] = from[i * step];
}

}  // namespace

void binary(Binary function, const Tensor& a, const Tensor& b, Tensor& out) {
  visit_float("elementwise", out.dtype(), [&]<class T>(Type<T>) { apply<T>(function, a, b, out); });
}

void comparison(Comparison function, const Tensor& a, const Tensor& b, Tensor& out) {
  visit_number("elementwise", a.dtype(), [&]<class T>(Type<T>) { apply<T>(function, a, b, out); });
}

void where(const Tensor& cond, const Tensor& a, const Tensor& b, Tensor& out) {
  const LoopNest nest(out.shape(), {out.strides(), cond.strides(), a.strides(), b.strides()});
  const Index c = nest.inner_stride(1), p = nest.inner_stride(2), q = nest.inner_stride(3);
  visit_number("where", out.dtype(), [&]<class T>(Type<T>) {
    const bool* chooser = cond.data<bool>();
    const T* left = a.data<T>();
    const T* right = b.data<T>();
    T* target = out.data<T>();
    nest.for_each_run(1, [&](const LoopNest::Offsets& at, Index count) {
      T* y = target + at[0];
      const bool* first = chooser + at[1];
      const T* u = left + at[2];
      const T* v = right + at[3];
      if (c == 0) return copy_run(*first ? u : v, *first ? p : q, count, y);  // a row is one operand's
      // Both operands are read, then one is kept by its bits: a branch on random data would be missed half the time.
      for (Index i = 0; i < count; ++i) y[i] = choose(first[i * c], u[i * p], v[i * q]);
    });
  });
}

}  // namespace subquad::kernels::cpu
