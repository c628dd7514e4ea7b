#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/bias_act_dropout/cpu.cpp"
#include "subquad/kernels/bias_act_dropout/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <optional>

#include "subquad/kernels/dropout/keep-inl.h"
#include "subquad/kernels/simd/erf-inl.h"
#include "subquad/kernels/simd/row-inl.h"

// A row is done in strips of up to four blocks of factors: the dropout's factors of a strip are drawn first, into L1,
// and the rest is one loop over its vectors.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

inline constexpr Index kStrip = 4 * kKeepBlock;

template <Activation kActivation, class D>
HWY_INLINE hn::Vec<D> Activate(D d, hn::Vec<D> z) {
  if constexpr (kActivation == Activation::gelu)
    return Gelu(d, z);
  else if constexpr (kActivation == Activation::relu)
    return hn::IfThenZeroElse(hn::Lt(z, hn::Zero(d)), z);
  else
    return z;
}

template <Activation kActivation, class D>
HWY_INLINE hn::Vec<D> Slope(D d, hn::Vec<D> z) {
  if constexpr (kActivation == Activation::gelu)
    return GeluSlope(d, z);
  else
    return hn::IfThenElseZero(hn::Gt(z, hn::Zero(d)), hn::Set(d, 1));
}

// Where the rows of x stand: row = sample * positions + position.
struct Rows {
  explicit Rows(const Tensor& x) : width(x.dim(-1)), count(x.size() / width), positions(count / x.dim(0)) {}
  Index width, count, positions;
};

template <class T, Activation kActivation>
void Forward(const Rows& rows, const T* x, const T* bias, const std::optional<cpu::Keep>& dropout, const T* residual,
             T* out) {
  ForRows(rows.count, rows.width, 20, [=, &dropout](Index row) HWY_ATTR {
    const hn::ScalableTag<T> d;
    HWY_ALIGN T factors[kStrip];
    for (Index first = 0; first < rows.width; first += kStrip) {
      const Index count = std::min(kStrip, rows.width - first);
      if (dropout) KeepFactors(*dropout, row / rows.positions, row % rows.positions, first, count, factors);
      const T* from = x + row * rows.width + first;
      const T* more = residual != nullptr ? residual + row * rows.width + first : nullptr;
      T* to = out + row * rows.width + first;
      ForVectors(d, count, [&](Index i, auto lanes) HWY_ATTR {
        auto z = lanes.Load(from + i);
        if (bias != nullptr) z = hn::Add(z, lanes.Load(bias + first + i));
        z = Activate<kActivation>(d, z);
        if (dropout) z = hn::Mul(z, lanes.Load(factors + i));
        if (more != nullptr) z = hn::Add(z, lanes.Load(more + i));
        lanes.Store(z, to + i);
      });
    }
  });
}

template <class T, Activation kActivation>
void Backward(const Rows& rows, const T* dout, const T* x, const T* bias, const std::optional<cpu::Keep>& dropout,
              T* dx, T* partials) {
  parallel_chunks(rows.count, cpu::kRowsPerChunk, rows.width * 20, [=, &dropout](Index begin, Index end) HWY_ATTR {
    const hn::ScalableTag<T> d;
    HWY_ALIGN T factors[kStrip];
    T* dbias = bias != nullptr ? partials + begin / cpu::kRowsPerChunk * rows.width : nullptr;
    if (dbias != nullptr) std::fill_n(dbias, rows.width, T(0));
    for (Index row = begin; row < end; ++row)
      for (Index first = 0; first < rows.width; first += kStrip) {
        const Index count = std::min(kStrip, rows.width - first);
        if (dropout) KeepFactors(*dropout, row / rows.positions, row % rows.positions, first, count, factors);
        const T *up = dout + row * rows.width + first, *from = x + row * rows.width + first;
        T* to = dx + row * rows.width + first;
        ForVectors(d, count, [&](Index i, auto lanes) HWY_ATTR {
          auto dz = lanes.Load(up + i);
          if (dropout) dz = hn::Mul(dz, lanes.Load(factors + i));
          if constexpr (kActivation != Activation::none) {
            auto z = lanes.Load(from + i);
            if (bias != nullptr) z = hn::Add(z, lanes.Load(bias + first + i));
            dz = hn::Mul(dz, Slope<kActivation>(d, z));
          }
          lanes.Store(dz, to + i);
          if (dbias != nullptr) lanes.Store(hn::Add(dz, lanes.Load(dbias + first + i)), dbias + first + i);
        });
      }
  });
}

// Calls f<T, activation>() for the element type and the activation.
template <class F>
void WithActivation(const char* op, DType dtype, Activation activation, const F& f) {
  visit_float(op, dtype, [&]<class T>(Type<T>) {
    switch (activation) {
      case Activation::none: return f.template operator()<T, Activation::none>();
      case Activation::relu: return f.template operator()<T, Activation::relu>();
      case Activation::gelu: return f.template operator()<T, Activation::gelu>();
    }
  });
}

std::optional<cpu::Keep> MakeDropout(double p, const RandomState& rng) {
  return p > 0 ? std::optional<cpu::Keep>(std::in_place, p, rng) : std::nullopt;
}

void BiasActDropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                    const Tensor& residual, Tensor& out) {
  if (x.size() == 0) return;
  const auto dropout = MakeDropout(p, rng);
  WithActivation("bias_act_dropout", x.dtype(), activation, [&]<class T, Activation kActivation>() {
    Forward<T, kActivation>(Rows(x), x.data<T>(), bias.defined() ? bias.data<T>() : nullptr, dropout,
                            residual.defined() ? residual.data<T>() : nullptr, out.data<T>());
  });
}

void BiasActDropoutGrad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                        const RandomState& rng, Tensor& dx, Tensor& partial) {
  if (x.size() == 0) return;
  const auto dropout = MakeDropout(p, rng);
  WithActivation("bias_act_dropout_grad", x.dtype(), activation, [&]<class T, Activation kActivation>() {
    Backward<T, kActivation>(Rows(x), dout.data<T>(), x.data<T>(), bias.defined() ? bias.data<T>() : nullptr, dropout,
                             dx.data<T>(), bias.defined() ? partial.data<T>() : nullptr);
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(BiasActDropout);
HWY_EXPORT(BiasActDropoutGrad);

namespace cpu {

void bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                      const Tensor& residual, Tensor& out) {
  SUBQUAD_DISPATCH(BiasActDropout)(x, bias, activation, p, rng, residual, out);
}

void bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                           const RandomState& rng, Tensor& dx, Tensor& partial) {
  SUBQUAD_DISPATCH(BiasActDropoutGrad)(dout, x, bias, activation, p, rng, dx, partial);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
