#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/cross_entropy/cpu.cpp"
#include "subquad/kernels/cross_entropy/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/kernels/softmax/exponentials-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
void CrossEntropyRows(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  const Index classes = logits.dim(1);
  const T* from = logits.data<T>();
  const std::int64_t* label = labels.data<std::int64_t>();
  T* loss = losses.data<T>();
  T* to = dlogits.defined() ? dlogits.data<T>() : nullptr;
  ForRows(logits.dim(0), classes, 8, [=](Index b) HWY_ATTR {
    const hn::ScalableTag<T> d;
    const T* row = from + b * classes;
    T* drow = to != nullptr ? to + b * classes : nullptr;
    const T shift = RowShift(d, row, classes);
    const T sum = ExponentialsOfRow(d, row, shift, classes, drow);
    const bool possible = sum != 0;  // false when every logit is -inf; true for a NaN
    loss[b] = possible ? std::log(sum) - (row[label[b]] - shift) : std::numeric_limits<T>::infinity();
    if (drow == nullptr || !possible) return;  // the exponentials of an impossible row are the zeros it should have
    ScaleRow(d, 1 / sum, classes, drow);
    drow[label[b]] -= 1;
  });
}

void CrossEntropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  visit_float("cross_entropy", logits.dtype(),
              [&]<class T>(Type<T>) { CrossEntropyRows<T>(logits, labels, losses, dlogits); });
}

template <class T>
void ScaleRows(const Tensor& factors, const Tensor& rows, Tensor& out) {
  const Index width = rows.dim(1);
  const T *factor = factors.data<T>(), *from = rows.data<T>();
  T* to = out.data<T>();
  ForRows(rows.dim(0), width, 1, [=](Index b) HWY_ATTR {
    const hn::ScalableTag<T> d;
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Mul(hn::Set(d, factor[b]), lanes.Load(from + b * width + c)), to + b * width + c);
    });
  });
}

void CrossEntropyGrad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx) {
  visit_float("cross_entropy_grad", dlogits.dtype(), [&]<class T>(Type<T>) { ScaleRows<T>(dlosses, dlogits, dx); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(CrossEntropy);
HWY_EXPORT(CrossEntropyGrad);

namespace cpu {
namespace {

void check_labels(const Tensor& labels, Index classes) {
  const std::int64_t* label = labels.data<std::int64_t>();
  for (Index b = 0; b < labels.size(); ++b)
    if (label[b] < 0 || label[b] >= classes)
      throw Error(cat("cross_entropy: label ", label[b], " of sample ", b, " is outside [0, ", classes, ")"));
}

}  // namespace

void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits) {
  check_labels(labels, logits.dim(1));
  SUBQUAD_DISPATCH(CrossEntropy)(logits, labels, losses, dlogits);
}

void cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx) {
  SUBQUAD_DISPATCH(CrossEntropyGrad)(dlosses, dlogits, dx);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
