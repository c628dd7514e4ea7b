// Complex numbers in kernels, roots of unity, and transforms of 2, 3, 4, 5 and 8 numbers in registers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace subquad::kernels::cuda {

template <class T>
struct alignas(2 * sizeof(T)) Complex {  // moves in one instruction
  T re, im;
};

template <class T>
__device__ inline Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
__device__ inline Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
__device__ inline Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
__device__ inline Complex<T> scaled(Complex<T> a, T factor) {
  return {a.re * factor, a.im * factor};
}
template <class T>
__device__ inline Complex<T> conjugate(Complex<T> a) {
  return {a.re, -a.im};
}
// i conj(a). The transform of swapped numbers, swapped, is the transform with e^(+...): one direction serves both.
template <class T>
__device__ inline Complex<T> swapped(Complex<T> a) {
  return {a.im, a.re};
}
template <class T>
__device__ inline Complex<T> times_minus_i(Complex<T> a) {
  return {a.im, -a.re};
}

// e^(-2 pi i k / n) for 0 <= k < n <= 2^28, to about one unit in the last place: the eighth of the circle is found in
// integers, what is left by Taylor's series on [0, pi/4].
template <class T>
__device__ inline Complex<T> turn(std::uint32_t k, std::uint32_t n) {
  const std::uint32_t eighth = 8 * k / n, rest = 8 * k - eighth * n;
  const bool odd = eighth % 2 == 1;
  const T x = static_cast<T>(0.78539816339744830962) * static_cast<T>(odd ? n - rest : rest) / static_cast<T>(n);
  const T square = x * x;
  constexpr int kTerms = sizeof(T) == 4 ? 5 : 9;
  T cosine = 1, sine = 1;
#pragma unroll
  for (int i = kTerms; i > 0; --i) {
    cosine = 1 - cosine * square * static_cast<T>(1.0 / ((2 * i - 1) * (2 * i)));
    sine = 1 - sine * square * static_cast<T>(1.0 / ((2 * i) * (2 * i + 1)));
  }
  sine *= odd ? -x : x;
  const std::uint32_t quarter = (eighth + 1) / 2 % 4;  // turned by so many right angles
  const T re = quarter % 2 == 0 ? cosine : -sine, im = quarter % 2 == 0 ? sine : cosine;
  return quarter < 2 ? Complex<T>{re, -im} : Complex<T>{-re, im};
}

// v[k] <- sum_j v[j] e^(-2 pi i j k / R)
template <class T>
__device__ inline void transform(Complex<T> (&v)[2]) {
  const Complex<T> a = v[0], b = v[1];
  v[0] = a + b;
  v[1] = a - b;
}
template <class T>
__device__ inline void transform(Complex<T> (&v)[3]) {
  const T sine = static_cast<T>(0.86602540378443864676);
  const Complex<T> sum = v[1] + v[2], difference = times_minus_i(scaled(v[1] - v[2], sine));
  const Complex<T> middle = v[0] - scaled(sum, T(0.5));
  v[0] = v[0] + sum;
  v[1] = middle + difference;
  v[2] = middle - difference;
}
template <class T>
__device__ inline void transform(Complex<T> (&v)[4]) {
  const Complex<T> a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = times_minus_i(v[1] - v[3]);
  v[0] = a + c;
  v[1] = b + d;
  v[2] = a - c;
  v[3] = b - d;
}
template <class T>
__device__ inline void transform(Complex<T> (&v)[5]) {
  const T c1 = static_cast<T>(0.30901699437494742410), c2 = static_cast<T>(-0.80901699437494742410);
  const T s1 = static_cast<T>(0.95105651629515357212), s2 = static_cast<T>(0.58778525229247312917);
  const Complex<T> p = v[1] + v[4], q = v[2] + v[3], m = v[1] - v[4], d = v[2] - v[3];
  const Complex<T> a = v[0] + scaled(p, c1) + scaled(q, c2), b = v[0] + scaled(p, c2) + scaled(q, c1);
  const Complex<T> e = times_minus_i(scaled(m, s1) + scaled(d, s2)), f = times_minus_i(scaled(m, s2) - scaled(d, s1));
  v[0] = v[0] + p + q;
  v[1] = a + e;
  v[2] = b + f;
  v[3] = b - f;
  v[4] = a - e;
}
template <class T>
__device__ inline void transform(Complex<T> (&v)[8]) {
  const T half = static_cast<T>(0.70710678118654752440);  // of a right angle, its sine and cosine
  Complex<T> even[4] = {v[0], v[2], v[4], v[6]}, odd[4] = {v[1], v[3], v[5], v[7]};
  transform(even);
  transform(odd);
  odd[1] = scaled(Complex<T>{odd[1].re + odd[1].im, odd[1].im - odd[1].re}, half);
  odd[2] = times_minus_i(odd[2]);
  odd[3] = scaled(Complex<T>{odd[3].im - odd[3].re, -odd[3].re - odd[3].im}, half);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    v[k] = even[k] + odd[k];
    v[k + 4] = even[k] - odd[k];
  }
}

}  // namespace subquad::kernels::cuda
