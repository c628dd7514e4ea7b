#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/softmax/cpu.cpp"
#include "subquad/kernels/softmax/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "subquad/kernels/softmax/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

// Some 4096 elements to a task, but whole groups of rows.
template <class F>
void ForRowRanges(Index rows, Index width, Index work, const F& f) {
  constexpr Index kElements = 4096, kGroup = 16;
  parallel_chunks(rows, std::max<Index>(1, kElements / (kGroup * width)) * kGroup, width * work, f);
}

template <class T>
void SoftmaxRows(Index rows, Index width, const T* x, T* y) {
  ForRowRanges(rows, width, 8, [=](Index begin, Index end) HWY_ATTR {
    SoftmaxOfRows(hn::ScalableTag<T>(), end - begin, width, x + begin * width, y + begin * width);
  });
}

template <class T>
void SoftmaxGradRows(Index rows, Index width, const T* dout, const T* y, T* dx) {
  ForRowRanges(rows, width, 4, [=](Index begin, Index end) HWY_ATTR {
    const Index first = begin * width;
    SoftmaxGradOfRows(hn::ScalableTag<T>(), end - begin, width, dout + first, y + first, dx + first);
  });
}

template <class T>
void LogSoftmaxRows(Index rows, Index width, const T* x, T* y) {
  ForRows(rows, width, 8, [=](Index row) HWY_ATTR {
    const hn::ScalableTag<T> d;
    const T* in = x + row * width;
    T* out = y + row * width;
    const T shift = RowShift(d, in, width);
    const T sum = ExponentialsOfRow(d, in, shift, width, static_cast<T*>(nullptr));
    const auto log_sum = hn::Set(d, sum == 0 ? T(0) : std::log(sum));
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      lanes.Store(hn::Sub(hn::Sub(lanes.Load(in + c), hn::Set(d, shift)), log_sum), out + c);
    });
  });
}

template <class T>
void LogSoftmaxGradRows(Index rows, Index width, const T* dout, const T* y, T* dx) {
  ForRows(rows, width, 8, [=](Index row) HWY_ATTR {
    const hn::ScalableTag<T> d;
    const T *up = dout + row * width, *log_p = y + row * width;
    T* out = dx + row * width;
    const auto nothing = hn::Set(d, -std::numeric_limits<T>::infinity());
    auto sum = hn::Zero(d), top = nothing;
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      sum = hn::Add(sum, lanes.Load(up + c));
      top = hn::Max(top, lanes.Load(log_p + c, nothing));
    });
    const auto total = hn::SumOfLanes(d, sum);
    const auto alive = hn::Ne(hn::MaxOfLanes(d, top), nothing);
    ForVectors(d, width, [&](Index c, auto lanes) HWY_ATTR {
      const auto p = Exp2(d, hn::Mul(lanes.Load(log_p + c), hn::Set(d, std::numbers::log2e_v<T>)));
      lanes.Store(hn::IfThenElseZero(alive, hn::NegMulAdd(p, total, lanes.Load(up + c))), out + c);
    });
  });
}

// Calls rows(number of rows, width) of the element type of a tensor whose rows are not empty.
template <class F>
void WithRows(const char* op, const Tensor& t, const F& rows) {
  const Index width = t.shape().back();
  if (t.size() > 0) visit_float(op, t.dtype(), [&]<class T>(Type<T> type) { rows(type, t.size() / width, width); });
}

void Softmax(const Tensor& x, Tensor& y) {
  WithRows("softmax", x,
           [&]<class T>(Type<T>, Index rows, Index width) { SoftmaxRows(rows, width, x.data<T>(), y.data<T>()); });
}

void SoftmaxGrad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  WithRows("softmax_grad", y, [&]<class T>(Type<T>, Index rows, Index width) {
    SoftmaxGradRows(rows, width, dout.data<T>(), y.data<T>(), dx.data<T>());
  });
}

void LogSoftmax(const Tensor& x, Tensor& y) {
  WithRows("log_softmax", x,
           [&]<class T>(Type<T>, Index rows, Index width) { LogSoftmaxRows(rows, width, x.data<T>(), y.data<T>()); });
}

void LogSoftmaxGrad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  WithRows("log_softmax_grad", y, [&]<class T>(Type<T>, Index rows, Index width) {
    LogSoftmaxGradRows(rows, width, dout.data<T>(), y.data<T>(), dx.data<T>());
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(Softmax);
HWY_EXPORT(SoftmaxGrad);
HWY_EXPORT(LogSoftmax);
HWY_EXPORT(LogSoftmaxGrad);

namespace cpu {

void softmax(const Tensor& x, Tensor& y) {
  SUBQUAD_DISPATCH(Softmax)(x, y);
}

void softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  SUBQUAD_DISPATCH(SoftmaxGrad)(dout, y, dx);
}

void log_softmax(const Tensor& x, Tensor& y) {
  SUBQUAD_DISPATCH(LogSoftmax)(x, y);
}

void log_softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx) {
  SUBQUAD_DISPATCH(LogSoftmaxGrad)(dout, y, dx);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
