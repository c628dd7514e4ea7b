#include "subquad/kernels/softmax/cpu.h"

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

// Calls f(offset of the row) for every row of a contiguous tensor.
template <class F>
void for_each_row(const Tensor& t, Index work, F&& f) {
  const Index width = t.shape().back();
  if (width == 0) return;
  parallel_for(t.size() / width, width * work, [&](Index row) { f(row * width); });
}

template <class T>
T row_max(const T* x, Index width) {
  T top = -std::numeric_limits<T>::infinity();
  for (Index c = 0; c < width; ++c) top = x[c] > top ? x[c] : top;
  return top;
}

}  // namespace

void softmax(const Tensor& x, Tensor& y) {
  visit_float("softmax", x.dtype(), [&]<class T>(Type<T>) {
    for_each_row(x, 8, [&, width = x.shape().back()](Index row) {
      const T* in = x.data<T>() + row;
      T* out = y.data<T>() + row;
      const T top = row_max(in, width);
      T sum = 0;
      for (Index c = 0; c < width; ++c) {
        out[c] = top == -std::numeric_limits<T>::infinity() ? T{0} : std::exp(in[c] - top);
        sum += out[c];
      }
      const T scale = sum > 0 ? 1 / sum : T{0};
      for (Index c = 0; c < width; ++c) out[c] *= scale;
    });
  });
}

void softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  visit_float("softmax_grad", y.dtype(), [&]<class T>(Type<T>) {
    for_each_row(y, 2, [&, width = y.shape().back()](Index row) {
      const T *g = dout.data<T>() + row, *p = y.data<T>() + row;
      T* d = dx.data<T>() + row;
      T dot = 0;
      for (Index c = 0; c < width; ++c) dot += g[c] * p[c];
      for (Index c = 0; c < width; ++c) d[c] = p[c] * (g[c] - dot);
    });
  });
}

void log_softmax(const Tensor& x, Tensor& y) {
  visit_float("log_softmax", x.dtype(), [&]<class T>(Type<T>) {
    for_each_row(x, 8, [&, width = x.shape().back()](Index row) {
      const T* in = x.data<T>() + row;
      T* out = y.data<T>() + row;
      const T top = row_max(in, width);
      T sum = 0;
      for (Index c = 0; c < width; ++c) sum += std::exp(in[c] - top);
      const T log_sum = std::log(sum);
      for (Index c = 0; c < width; ++c)
        out[c] = top == -std::numeric_limits<T>::infinity() ? top : in[c] - top - log_sum;
    });
  });
}

void log_softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  visit_float("log_softmax_grad", y.dtype(), [&]<class T>(Type<T>) {
    for_each_row(y, 8, [&, width = y.shape().back()](Index row) {
      const T *g = dout.data<T>() + row, *log_p = y.data<T>() + row;
      T* d = dx.data<T>() + row;
      const bool dead = row_max(log_p, width) == -std::numeric_limits<T>::infinity();
      T sum = 0;
      for (Index c = 0; c < width; ++c) sum += g[c];
      for (Index c = 0; c < width; ++c) d[c] = dead ? T{0} : g[c] - std::exp(log_p[c]) * sum;
    });
  });
}

}  // namespace subquad::kernels::cpu
