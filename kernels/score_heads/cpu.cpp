#include "subquad/kernels/score_heads/cpu.h"

#include <cmath>
#include <numbers>

#include "subquad/core/parallel.h"

namespace subquad::kernels {
namespace {

template <class T>
T cdf(T z) {
  return (1 + std::erf(z / std::numbers::sqrt2_v<T>)) / 2;
}
template <class T>
T gelu(T z) {
  return z * cdf(z);
}
template <class T>
T gelu_slope(T z) {
  return cdf(z) + z * std::exp(-z * z / 2) * std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
}

// Sizes and the parameters of one head.
template <class T>
struct Head {
  Index channels, hidden;
  const T *u, *w1, *b1, *w2;

  Head(const ScoreHeads& heads, Index h)
      : channels(heads.u.dim(1)),
        hidden(heads.b1.dim(1)),
        u(heads.u.data<T>() + h * channels),
        w1(heads.w1.data<T>() + h * channels * hidden),
        b1(heads.b1.data<T>() + h * hidden),
        w2(heads.w2.data<T>() + h * hidden) {}

  T z(const T* f, Index m) const {
    T sum = b1[m];
    for (Index r = 0; r < channels; ++r) sum += f[r] * w1[r * hidden + m];
    return sum;
  }
};

}  // namespace

void cpu::score_heads(const Tensor& feature, const ScoreHeads& heads, Tensor& score) {
  const Index count = heads.u.dim(0), positions = feature.dim(1), width = feature.dim(2);
  visit_float("score_heads", feature.dtype(), [&]<class T>(Type<T>) {
    parallel_for(feature.dim(0) * count, positions * 100,
                 [&, from = feature.data<T>(), to = score.data<T>()](Index task) {
                   const Index b = task / count, h = task % count;
                   const Head<T> head(heads, h);
                   for (Index n = 0; n < positions; ++n) {
                     const T* f = from + (b * positions + n) * width + h * head.channels;
                     T sum = 0;
                     for (Index r = 0; r < head.channels; ++r) sum += head.u[r] * f[r];
                     for (Index m = 0; m < head.hidden; ++m) sum += head.w2[m] * gelu(head.z(f, m));
                     to[task * positions + n] = sum;
                   }
                 });
  });
}

void cpu::score_heads_grad(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads,
                           ScoreHeadsGrads& grads) {
  const Index count = heads.u.dim(0), positions = feature.dim(1), width = feature.dim(2);
  for (Tensor* t : {&grads.dheads.u, &grads.dheads.w1, &grads.dheads.b1, &grads.dheads.w2}) fill(*t, 0);
  visit_float("score_heads_grad", feature.dtype(), [&]<class T>(Type<T>) {
    parallel_for(count, feature.dim(0) * positions * 300, [&](Index h) {
      const Head<T> head(heads, h);
      const ScoreHeads& d = grads.dheads;
      T *du = grads.dheads.u.data<T>() + h * head.channels,
        *dw1 = grads.dheads.w1.data<T>() + h * d.w1.dim(1) * d.w1.dim(2);
      T *db1 = grads.dheads.b1.data<T>() + h * head.hidden, *dw2 = grads.dheads.w2.data<T>() + h * head.hidden;
      for (Index row = 0; row < feature.dim(0) * positions; ++row) {
        const T up = dscore.data<T>()[(row / positions * count + h) * positions + row % positions];
        const T* f = feature.data<T>() + row * width + h * head.channels;
        T* df = grads.dfeature.data<T>() + row * width + h * head.channels;
        for (Index r = 0; r < head.channels; ++r) {
          df[r] = up * head.u[r];
          du[r] += up * f[r];
        }
        for (Index m = 0; m < head.hidden; ++m) {
          const T z = head.z(f, m), dz = up * head.w2[m] * gelu_slope(z);
          dw2[m] += up * gelu(z);
          db1[m] += dz;
          for (Index r = 0; r < head.channels; ++r) {
            df[r] += head.w1[r * head.hidden + m] * dz;
            dw1[r * head.hidden + m] += f[r] * dz;
          }
        }
      }
    });
  });
}

}  // namespace subquad::kernels
