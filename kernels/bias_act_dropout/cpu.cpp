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

// Work goes by panels of a few rows and columns: a dropout's factors of a panel are drawn first, into L1, and the rest
// is one loop over its rows for every strip of columns, whose bias and gradient of the bias stay in registers. Where
// forward left its mask as bits, backward reads those instead.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

inline constexpr Index kPanelRows = 16, kPanelColumns = 2 * kKeepBlock;

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

struct Rows {
  Rows(const Tensor& x, cpu::RowPlace at) : width(x.dim(-1)), count(x.size() / width), place(at) {}
  Index width, count;
  cpu::RowPlace place;
};

// A panel of rows `first_row` up and columns `first` up; `factors` is null where nothing is dropped.
template <class T>
struct Panel {
  Index first_row, rows, first, columns;
  const T* factors;

  Index at(Index width) const { return first_row * width + first; }
};

// f(panel) for every panel of rows begin to end.
template <class T, class F>
HWY_INLINE void ForPanels(const Rows& rows, Index begin, Index end, const std::optional<cpu::Keep>& dropout,
                          const F& f) {
  HWY_ALIGN T factors[kPanelRows * kPanelColumns];
  for (Index row = begin; row < end; row += kPanelRows)
    for (Index first = 0; first < rows.width; first += kPanelColumns) {
      const Panel<T> panel = {row, std::min(kPanelRows, end - row), first, std::min(kPanelColumns, rows.width - first),
                              dropout ? factors : nullptr};
      if (dropout)
        KeepFactorsOfRows(*dropout, rows.place.positions, rows.place.first + row, panel.rows, first, panel.columns,
                          factors, kPanelColumns);
      f(panel);
    }
}

// The bias of a strip of columns, or zeros.
template <class T, class Strip>
HWY_INLINE void LoadBias(const T* bias, Index column, Strip strip, typename Strip::V* v) {
  for (Index i = 0; i < Strip::kVectors; ++i)
    v[i] = bias != nullptr ? strip.Load(bias + column, i) : hn::Zero(hn::ScalableTag<T>());
}

template <class T, Activation kActivation>
void Forward(const Rows& rows, const T* x, const T* bias, const std::optional<cpu::Keep>& dropout, const T* residual,
             T* out, cpu::KeptBits kept) {
  const Index width = rows.width;
  const auto strip_of = [=](const Panel<T>& panel, Index column, auto strip) HWY_ATTR {
    const hn::ScalableTag<T> d;
    constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(hn::ScalableTag<T>()));
    const Index at = panel.at(width) + column;
    const T *from = x + at, *more = residual + at, *factors = panel.factors + column;
    const bool drops = panel.factors != nullptr, adds = residual != nullptr, keeps = kept.data != nullptr;
    T* to = out + at;
    std::uint8_t* bits = kept.row(panel.first_row);
    typename decltype(strip)::V shift[decltype(strip)::kVectors];
    LoadBias(bias, panel.first + column, strip, shift);
    for (Index r = 0; r < panel.rows; ++r, from += width, more += width, to += width, factors += kPanelColumns) {
      for (Index v = 0; v < decltype(strip)::kVectors; ++v) {
        auto z = Activate<kActivation>(d, hn::Add(strip.Load(from, v), shift[v]));
        if (drops) {
          const auto factor = strip.Load(factors, v);
          z = hn::Mul(z, factor);
          if (keeps) StoreKept(d, hn::Gt(factor, hn::Zero(d)), bits, panel.first + column + v * kLanes);
        }
        if (adds) z = hn::Add(z, strip.Load(more, v));
        strip.Store(z, to, v);
      }
      bits += kept.row_bytes;
    }
  };
  const Index task = std::max<Index>(1, 4096 / width);  // rows
  parallel_chunks(rows.count, task, width * 20, [&](Index begin, Index end) HWY_ATTR {
    ForPanels<T>(rows, begin, end, dropout, [&](const Panel<T>& panel) HWY_ATTR {
      ForStrips(hn::ScalableTag<T>(), panel.columns,
                [&](Index column, auto strip) HWY_ATTR { strip_of(panel, column, strip); });
    });
  });
}

template <class T, Activation kActivation>
void Backward(const Rows& rows, const T* dout, const T* x, const T* bias, const std::optional<cpu::Keep>& dropout,
              cpu::KeptBits kept, T* dx, T* partials) {
  const Index width = rows.width;
  const T kept_factor = dropout ? static_cast<T>(dropout->scale) : T(1);
  // `dbias`: of the panel's first column on.
  const auto strip_of = [=](const Panel<T>& panel, Index column, auto strip, T* dbias) HWY_ATTR {
    const hn::ScalableTag<T> d;
    constexpr int kVectors = decltype(strip)::kVectors;
    constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(hn::ScalableTag<T>()));
    const Index at = panel.at(width) + column;
    const T *up = dout + at, *from = x + at, *factors = panel.factors + column;
    const bool drops = panel.factors != nullptr, knows = kept.data != nullptr;
    T* to = dx + at;
    const std::uint8_t* bits = kept.row(panel.first_row);
    typename decltype(strip)::V shift[kVectors], dshift[kVectors];
    LoadBias(bias, panel.first + column, strip, shift);
    for (Index v = 0; v < kVectors; ++v) dshift[v] = dbias != nullptr ? strip.Load(dbias + column, v) : hn::Zero(d);
    for (Index r = 0; r < panel.rows; ++r, up += width, from += width, to += width, factors += kPanelColumns) {
      for (Index v = 0; v < kVectors; ++v) {
        auto dz = strip.Load(up, v);
        if (drops) dz = hn::Mul(dz, strip.Load(factors, v));
        if (knows) {
          const auto there = LoadKept(d, bits, panel.first + column + v * kLanes);
          dz = hn::Mul(dz, hn::IfThenElseZero(there, hn::Set(d, kept_factor)));
        }
        if constexpr (kActivation != Activation::none)
          dz = hn::Mul(dz, Slope<kActivation>(d, hn::Add(strip.Load(from, v), shift[v])));
        strip.Store(dz, to, v);
        dshift[v] = hn::Add(dshift[v], dz);
      }
      bits += kept.row_bytes;
    }
    for (Index v = 0; dbias != nullptr && v < kVectors; ++v) strip.Store(dshift[v], dbias + column, v);
  };
  parallel_chunks(rows.count, cpu::kRowsPerChunk, width * 20, [&](Index begin, Index end) HWY_ATTR {
    T* dbias = bias != nullptr ? partials + begin / cpu::kRowsPerChunk * width : nullptr;
    if (dbias != nullptr) std::fill_n(dbias, width, T(0));
    const auto drawn = kept.data != nullptr ? std::nullopt : dropout;
    ForPanels<T>(rows, begin, end, drawn, [&](const Panel<T>& panel) HWY_ATTR {
      T* of_panel = dbias != nullptr ? dbias + panel.first : nullptr;
      ForStrips(hn::ScalableTag<T>(), panel.columns,
                [&](Index column, auto strip) HWY_ATTR { strip_of(panel, column, strip, of_panel); });
    });
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

cpu::KeptBits BitsIn(Tensor kept) {
  return kept.defined() ? cpu::KeptBits{kept.data<std::uint8_t>(), kept.dim(1)} : cpu::KeptBits();
}

void BiasActDropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                    cpu::RowPlace place, const Tensor& residual, Tensor& out, Tensor kept) {
  if (x.size() == 0) return;
  const auto dropout = MakeDropout(p, rng);
  WithActivation("bias_act_dropout", x.dtype(), activation, [&]<class T, Activation kActivation>() {
    Forward<T, kActivation>(Rows(x, place), x.data<T>(), bias.defined() ? bias.data<T>() : nullptr, dropout,
                            residual.defined() ? residual.data<T>() : nullptr, out.data<T>(), BitsIn(kept));
  });
}

void BiasActDropoutGrad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                        const RandomState& rng, cpu::RowPlace place, const Tensor& kept, Tensor& dx, Tensor& partial) {
  if (x.size() == 0) return;
  const auto dropout = MakeDropout(p, rng);
  WithActivation("bias_act_dropout_grad", x.dtype(), activation, [&]<class T, Activation kActivation>() {
    Backward<T, kActivation>(Rows(x, place), dout.data<T>(), x.data<T>(), bias.defined() ? bias.data<T>() : nullptr,
                             dropout, BitsIn(kept), dx.data<T>(), bias.defined() ? partial.data<T>() : nullptr);
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
                      RowPlace place, const Tensor& residual, Tensor& out, Tensor kept) {
  SUBQUAD_DISPATCH(BiasActDropout)(x, bias, activation, p, rng, place, residual, out, kept);
}

void bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                           const RandomState& rng, RowPlace place, const Tensor& kept, Tensor& dx, Tensor& partial) {
  SUBQUAD_DISPATCH(BiasActDropoutGrad)(dout, x, bias, activation, p, rng, place, kept, dx, partial);
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
