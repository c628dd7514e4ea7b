#include "subquad/kernels/hidden_cross/cpu.h"

#include <algorithm>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/core/prefix_mask.h"

namespace subquad::kernels {
namespace {

// One channel of a sample: its n numbers less their mean.
template <class T>
struct Centred {
  std::vector<T> x;
  T mean = 0;

  Centred(const T* from, Index n, Index stride) : x(static_cast<std::size_t>(n)) {
    for (Index i = 0; i < n; ++i) x[i] = from[i * stride];
    for (const T v : x) mean += v;
    mean /= static_cast<T>(n);
    for (T& v : x) v -= mean;
  }
};

template <class T, class F>
void for_each_channel(const Tensor& like, const Mask& mask, const F& f) {
  const Index positions = like.dim(1), channels = like.dim(2);
  parallel_for(like.dim(0) * channels, positions * positions, [&](Index task) {
    const Index b = task / channels, c = task % channels;
    f(b * positions * channels + c, prefix_length(mask, b, positions), positions, channels);
  });
}

}  // namespace

void cpu::hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, HiddenCross& out) {
  visit_float("hidden_cross", a.dtype(), [&]<class T>(Type<T>) {
    T *lag = out.lag.data<T>(), *col = out.col.data<T>();
    for_each_channel<T>(a, mask, [&, pa = a.data<T>(), pb = b.data<T>()](Index at, Index n, Index rows, Index stride) {
      const Centred<T> x(pa + at, n, stride), y(pb + at, n, stride);
      for (Index t = 0; t < rows; ++t) {
        T sum = 0;
        if (t < n)
          for (Index i = 0; i < n; ++i) sum += x.x[i] * y.x[(i + t) % n];
        lag[at + t * stride] = t < n ? sum / static_cast<T>(n) : 0;
        col[at + t * stride] = t < n ? x.mean * y.x[t] : 0;
      }
    });
  });
}

void cpu::hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                            HiddenCrossGrads& grads) {
  visit_float("hidden_cross_grad", a.dtype(), [&]<class T>(Type<T>) {
    const T *up_lag = dlag.data<T>(), *up_col = dcol.data<T>();
    T *da = grads.da.data<T>(), *db = grads.db.data<T>();
    for_each_channel<T>(a, mask, [&, pa = a.data<T>(), pb = b.data<T>()](Index at, Index n, Index rows, Index stride) {
      const Centred<T> x(pa + at, n, stride), y(pb + at, n, stride);
      T dmean = 0;
      for (Index j = 0; j < n; ++j) dmean += up_col[at + j * stride] * y.x[j];
      std::vector<T> dx(n), dy(n);
      for (Index i = 0; i < n; ++i) {
        dy[i] = x.mean * up_col[at + i * stride];
        for (Index t = 0; t < n; ++t) {
          const T e = up_lag[at + t * stride] / static_cast<T>(n);
          dx[i] += e * y.x[(i + t) % n];
          dy[i] += e * x.x[(i - t + n) % n];
        }
      }
      const Centred<T> dx0(dx.data(), n, 1), dy0(dy.data(), n, 1);
      for (Index i = 0; i < rows; ++i) {
        da[at + i * stride] = i < n ? dx0.x[i] + dmean / static_cast<T>(n) : 0;
        db[at + i * stride] = i < n ? dy0.x[i] : 0;
      }
    });
  });
}

}  // namespace subquad::kernels
