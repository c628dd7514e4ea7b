#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/layer_norm/cpu.cpp"
#include "subquad/kernels/layer_norm/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
T Inverse(Index width) {
  return width > 0 ? T(1) / static_cast<T>(width) : T(0);
}

template <class T>
void AddLayerNormRows(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, T eps,
                      AddLayerNorm& result) {
  const Index width = x.dim(-1);
  const T *from = x.data<T>(), *other = residual.defined() ? residual.data<T>() : nullptr;
  const T *scale = gamma.data<T>(), *shift = beta.data<T>();
  T* sums = residual.defined() ? result.sum.data<T>() : nullptr;
  T *to = result.out.data<T>(), *means = result.mean.data<T>(), *rstds = result.rstd.data<T>();
  ForRows(result.mean.size(), width, 4, [=](Index row) HWY_ATTR {
    const hn::ScalableTag<T> d;
    const T* in = from + row * width;
    T* out = to + row * width;
    auto total = hn::Zero(d);
    if (other != nullptr) {
      const T* more = other + row * width;
      T* sum = sums + row * width;
      ForVectors(d, width, [&](Index i, auto lanes) HWY_ATTR {
        const auto v = hn::Add(lanes.Load(in + i), lanes.Load(more + i));
        lanes.Store(v, sum + i);
        total = hn::Add(total, v);
      });
      in = sum;
    } else {
      ForVectors(d, width, [&](Index i, auto lanes) HWY_ATTR { total = hn::Add(total, lanes.Load(in + i)); });
    }
    const T inverse = Inverse<T>(width);
    const T mean = SumLanes(d, total) * inverse;
    auto squares = hn::Zero(d);
    ForVectors(d, width, [&](Index i, auto lanes) HWY_ATTR {
      const auto centred = lanes.OrZero(hn::Sub(lanes.Load(in + i), hn::Set(d, mean)));
      squares = hn::MulAdd(centred, centred, squares);
    });
    const T rstd = 1 / std::sqrt(SumLanes(d, squares) * inverse + eps);
    ForVectors(d, width, [&](Index i, auto lanes) HWY_ATTR {
      const auto hat = hn::Mul(hn::Sub(lanes.Load(in + i), hn::Set(d, mean)), hn::Set(d, rstd));
      lanes.Store(hn::MulAdd(hat, lanes.Load(scale + i), lanes.Load(shift + i)), out + i);
    });
    means[row] = mean;
    rstds[row] = rstd;
  });
}

void AddLayerNormAny(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
                     AddLayerNorm& result) {
  visit_float("layer_norm", x.dtype(),
              [&]<class T>(Type<T>) { AddLayerNormRows(x, residual, gamma, beta, static_cast<T>(eps), result); });
}

template <class T>
void LayerNormGradRows(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                       const Tensor& dsum, Tensor& dx, Tensor& partial) {
  const Index width = x.dim(-1);
  const T *ups = dout.data<T>(), *xs = x.data<T>(), *means = mean.data<T>(), *rstds = rstd.data<T>();
  const T *scale = gamma.data<T>(), *extras = dsum.defined() ? dsum.data<T>() : nullptr;
  T *to = dx.data<T>(), *partials = partial.data<T>();
  parallel_chunks(mean.size(), cpu::kRowsPerChunk, width * 8, [=](Index begin, Index end) HWY_ATTR {
    const hn::ScalableTag<T> d;
    T* dgamma = partials + begin / cpu::kRowsPerChunk * 2 * width;
    T* dbeta = dgamma + width;
    std::fill(dgamma, dbeta + width, T(0));
    for (Index row = begin; row < end; ++row) {
      const T *up = ups + row * width, *in = xs + row * width;
      const auto m = hn::Set(d, means[row]), s = hn::Set(d, rstds[row]);
      auto sum = hn::Zero(d), dot = hn::Zero(d);  // of dxhat, and of dxhat * xhat
      ForVectors(d, width, [&](Index i, auto lanes) HWY_ATTR {
        const auto dy = lanes.Load(up + i);
        const auto hat = hn::Mul(hn::Sub(lanes.Load(in + i), m), s);
        const auto dhat = hn::Mul(dy, lanes.Load(scale + i));
        sum = hn::Add(sum, dhat);
        dot = hn::MulAdd(dhat, hat, dot);
        lanes.Store(hn::MulAdd(dy, hat, lanes.Load(dgamma + i)), dgamma + i);
        lanes.Store(hn::Add(dy, lanes.Load(dbeta + i)), dbeta + i);
      });
      const auto inverse = hn::Set(d, Inverse<T>(width));
      const auto mean_sum = hn::Mul(hn::SumOfLanes(d, sum), inverse);
      const auto mean_dot = hn::Mul(hn::SumOfLanes(d, dot), inverse);
      const T* extra = extras != nullptr ? extras + row * width : nullptr;
      T* out = to + row * width;
      ForVectors(d, width, [&](Index i, auto lanes) HWY_ATTR {
        const auto hat = hn::Mul(hn::Sub(lanes.Load(in + i), m), s);
        const auto dhat = hn::Mul(lanes.Load(up + i), lanes.Load(scale + i));  // rounded as in the sum above
        const auto centred = hn::Sub(dhat, mean_sum);
        const auto direct = extra != nullptr ? lanes.Load(extra + i) : hn::Zero(d);
        lanes.Store(hn::MulAdd(s, hn::NegMulAdd(hat, mean_dot, centred), direct), out + i);
      });
    }
  });
}

void LayerNormGrad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                   const Tensor& dsum, Tensor& dx, Tensor& partial) {
  visit_float("layer_norm_grad", x.dtype(),
              [&]<class T>(Type<T>) { LayerNormGradRows<T>(dout, x, gamma, mean, rstd, dsum, dx, partial); });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(AddLayerNormAny);
HWY_EXPORT(LayerNormGrad);

namespace cpu {

void add_layer_norm(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
                    AddLayerNorm& result) {
  SUBQUAD_DISPATCH(AddLayerNormAny)(x, residual, gamma, beta, eps, result);
}

void layer_norm_grad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                     const Tensor& dsum, Tensor& dx, Tensor& partial) {
  SUBQUAD_DISPATCH(LayerNormGrad)(dout, x, gamma, mean, rstd, dsum, dx, partial);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
