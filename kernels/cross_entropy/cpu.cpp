#include "subquad/kernels/cross_entropy/cpu.h"

#include <cmath>
#include <limits>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

void check_labels(const Tensor& labels, Index classes) {
  const std::int64_t* label = labels.data<std::int64_t>();
  for (Index b = 0; b < labels.size(); ++b)
    if (label[b] < 0 || label[b] >= classes)
      throw Error(cat("cross_entropy: label ", label[b], " of sample ", b, " is outside [0, ", classes, ")"));
}

template <class T>
void row(const T* logits, Index label, Index classes, T& loss, T* dlogits) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  T top = -kInfinity;
  for (Index c = 0; c < classes; ++c) top = logits[c] > top ? logits[c] : top;
  if (top == -kInfinity) {
    loss = kInfinity;
    for (Index c = 0; dlogits && c < classes; ++c) dlogits[c] = 0;
    return;
  }
  T sum = 0;
  for (Index c = 0; c < classes; ++c) {
    const T e = std::exp(logits[c] - top);
    if (dlogits) dlogits[c] = e;
    sum += e;
  }
  loss = std::log(sum) - (logits[label] - top);
  if (!dlogits) return;
  for (Index c = 0; c < classes; ++c) dlogits[c] /= sum;
  dlogits[label] -= 1;
}

}  // namespace

void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  const Index batch = logits.dim(0), classes = logits.dim(1);
  check_labels(labels, classes);
  visit_float("cross_entropy", logits.dtype(), [&]<class T>(Type<T>) {
    parallel_for(batch, classes * 8, [&](Index b) {
      row(logits.data<T>() + b * classes, labels.data<std::int64_t>()[b], classes, losses.data<T>()[b],
          dlogits.defined() ? dlogits.data<T>() + b * classes : nullptr);
    });
  });
}

void cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx) {
  const Index batch = dlogits.dim(0), classes = dlogits.dim(1);
  visit_float("cross_entropy_grad", dlogits.dtype(), [&]<class T>(Type<T>) {
    parallel_for(batch, classes, [&](Index b) {
      const T up = dlosses.data<T>()[b];
      const T* from = dlogits.data<T>() + b * classes;
      T* to = dx.data<T>() + b * classes;
      for (Index c = 0; c < classes; ++c) to[c] = up * from[c];
    });
  });
}

}  // namespace subquad::kernels::cpu
