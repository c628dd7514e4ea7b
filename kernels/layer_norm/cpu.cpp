#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/layer_norm/cpu.cpp"
#include "subquad/kernels/layer_norm/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/lane_sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

template <class T>
T Inverse(Index width) {
  return width > 0 ? T(1) / static_cast<T>(width) : T(0);
}

// A block of rows is passed over several times while it lies in L1; what each pass finds of a row is a lane of a
// vector, so that sums over lanes, roots and divisions serve a vector of rows. A block has two of them, which hides the
// latency of one behind the other; fewer rows, so that there are at most kBlockElements, where rows are long.
template <class T>
inline constexpr Index kLanesOf = hn::MaxLanes(hn::ScalableTag<T>());
template <class T>
inline constexpr Index kBlockRows = 2 * kLanesOf<T>;

template <class T>
Index RowsPerBlock(Index width) {
  constexpr Index kBlockElements = 4096;
  return std::clamp<Index>(kBlockElements / std::max<Index>(width, 1), 1, kBlockRows<T>);
}

// A vector of partial sums for each row of a block.
template <class T>
struct PartialSums {
  // Sums that no strip begins, those of lanes without a row or of rows without columns, are 0.
  HWY_INLINE PartialSums(Index rows, Index width) {
    const hn::ScalableTag<T> d;
    for (Index row = width > 0 ? rows : 0; row < kBlockRows<T>; ++row) hn::Store(hn::Zero(d), d, of(row));
  }
  HWY_ALIGN T lanes[kBlockRows<T> * kLanesOf<T>];

  T* of(Index row) { return lanes + row * kLanesOf<T>; }
};

// One number for each row of a block.
template <class T>
struct PerRow {
  // f(the sums of a vector of rows), a vector.
  template <class F>
  HWY_INLINE PerRow(const PartialSums<T>& partial, Index count, const F& f) {
    const hn::ScalableTag<T> d;
    for (Index row = 0; row < count; row += kLanesOf<T>)
      hn::Store(f(AddLanesOfEach(d, partial.lanes + row * kLanesOf<T>)), d, of + row);
  }
  HWY_ALIGN T of[kBlockRows<T>];
};

template <class T>
struct Normalise {
  Index width;
  T eps;
  const T *x, *residual, *gamma, *beta;  // residual may be null
  T *sum, *out, *mean, *rstd;

  void Block(Index first, Index count) const {
    const hn::ScalableTag<T> d;
    PartialSums<T> totals(count, width), squares(count, width);
    const auto inverse = hn::Set(d, Inverse<T>(width));
    ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR { AddTotals(first, count, c, strip, totals); });
    const PerRow<T> means(totals, count, [&](auto sums) HWY_ATTR { return hn::Mul(sums, inverse); });
    ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR { AddSquares(first, count, c, strip, means, squares); });
    const PerRow<T> rstds(squares, count, [&](auto sums) HWY_ATTR {
      return hn::Div(hn::Set(d, 1), hn::Sqrt(hn::MulAdd(sums, inverse, hn::Set(d, eps))));
    });
    ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR { Write(first, count, c, strip, means, rstds); });
    std::copy_n(means.of, count, mean + first);
    std::copy_n(rstds.of, count, rstd + first);
  }

  // What is normalised.
  const T* In() const { return residual != nullptr ? sum : x; }

  template <class Strip>
  HWY_INLINE void AddTotals(Index first, Index count, Index column, Strip strip, PartialSums<T>& totals) const {
    const hn::ScalableTag<T> d;
    const T *from = x + first * width + column, *more = residual + first * width + column;
    T* to = sum + first * width + column;
    const bool adds = residual != nullptr;
    for (Index r = 0; r < count; ++r, from += width, more += width, to += width) {
      auto total = column == 0 ? hn::Zero(d) : hn::Load(d, totals.of(r));
      for (Index v = 0; v < Strip::kVectors; ++v) {
        auto value = strip.Load(from, v);
        if (adds) {
          value = hn::Add(value, strip.Load(more, v));
          strip.Store(value, to, v);
        }
        total = hn::Add(total, value);
      }
      hn::Store(total, d, totals.of(r));
    }
  }

  template <class Strip>
  HWY_INLINE void AddSquares(Index first, Index count, Index column, Strip strip, const PerRow<T>& means,
                             PartialSums<T>& squares) const {
    const hn::ScalableTag<T> d;
    const T *in = In() + first * width + column, *next = x + (first + count) * width + column;
    for (Index r = 0; r < count; ++r, in += width, next += width) {
      const auto m = hn::Set(d, means.of[r]);
      auto total = column == 0 ? hn::Zero(d) : hn::Load(d, squares.of(r));
      for (Index v = 0; v < Strip::kVectors; ++v) {
        const auto centred = strip.OrZero(hn::Sub(strip.Load(in, v), m));
        hwy::Prefetch(next + v * kLanesOf<T>);
        total = hn::MulAdd(centred, centred, total);
      }
      hn::Store(total, d, squares.of(r));
    }
  }

  template <class Strip>
  HWY_INLINE void Write(Index first, Index count, Index column, Strip strip, const PerRow<T>& means,
                        const PerRow<T>& rstds) const {
    const hn::ScalableTag<T> d;
    const T* in = In() + first * width + column;
    T* to = out + first * width + column;
    hn::Vec<decltype(d)> scale[Strip::kVectors], shift[Strip::kVectors];
    for (Index v = 0; v < Strip::kVectors; ++v) {
      scale[v] = strip.Load(gamma + column, v);
      shift[v] = strip.Load(beta + column, v);
    }
    for (Index r = 0; r < count; ++r, in += width, to += width) {
      const auto m = hn::Set(d, means.of[r]), s = hn::Set(d, rstds.of[r]);
      for (Index v = 0; v < Strip::kVectors; ++v) {
        const auto hat = hn::Mul(hn::Sub(strip.Load(in, v), m), s);
        strip.Store(hn::MulAdd(hat, scale[v], shift[v]), to, v);
      }
    }
  }
};

// f(first, count) for every block of rows.
template <class T, class F>
void ForBlocks(Index begin, Index end, Index width, const F& f) {
  const Index rows = RowsPerBlock<T>(width);
  for (Index first = begin; first < end; first += rows) f(first, std::min(rows, end - first));
}

template <class T>
void AddLayerNormRows(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, T eps,
                      AddLayerNorm& result) {
  const bool adds = residual.defined();
  const Normalise<T> normalise = {.width = x.dim(-1),
                                  .eps = eps,
                                  .x = x.data<T>(),
                                  .residual = adds ? residual.data<T>() : nullptr,
                                  .gamma = gamma.data<T>(),
                                  .beta = beta.data<T>(),
                                  .sum = adds ? result.sum.data<T>() : nullptr,
                                  .out = result.out.data<T>(),
                                  .mean = result.mean.data<T>(),
                                  .rstd = result.rstd.data<T>()};
  const Index width = x.dim(-1), rows = RowsPerBlock<T>(width);
  parallel_chunks(result.mean.size(), 4 * rows, 4 * width, [&](Index begin, Index end) HWY_ATTR {
    ForBlocks<T>(begin, end, width, [&](Index first, Index count) HWY_ATTR { normalise.Block(first, count); });
  });
}

void AddLayerNormAny(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
                     AddLayerNorm& result) {
  visit_float("layer_norm", x.dtype(),
              [&]<class T>(Type<T>) { AddLayerNormRows(x, residual, gamma, beta, static_cast<T>(eps), result); });
}

template <class T>
struct Gradient {
  Index width;
  const T *dout, *x, *gamma, *mean, *rstd, *dsum;  // dsum may be null
  T* dx;

  // Adds the shares of a block of rows to dgamma and dbeta.
  void Block(Index first, Index count, T* dgamma, T* dbeta) const {
    const hn::ScalableTag<T> d;
    PartialSums<T> sums(count, width), dots(count, width);
    ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR {
      AddSums(first, count, c, strip, sums, dots, dgamma + c, dbeta + c);
    });
    const auto inverse = hn::Set(d, Inverse<T>(width));
    const auto mean_of = [&](auto of_rows) HWY_ATTR { return hn::Mul(of_rows, inverse); };
    const PerRow<T> mean_sums(sums, count, mean_of), mean_dots(dots, count, mean_of);
    ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR { Write(first, count, c, strip, mean_sums, mean_dots); });
  }

  // Some columns of a block of rows: their dgamma and dbeta stay in registers from row to row. Of each row, adds to
  // `sums` those of dxhat and to `dots` those of dxhat * xhat.
  template <class Strip>
  HWY_INLINE void AddSums(Index first, Index count, Index column, Strip strip, PartialSums<T>& sums,
                          PartialSums<T>& dots, T* dgamma, T* dbeta) const {
    const hn::ScalableTag<T> d;
    const T *up = dout + first * width + column, *in = x + first * width + column;
    const T *means = mean + first, *rstds = rstd + first;
    hn::Vec<decltype(d)> scale[Strip::kVectors], dscale[Strip::kVectors], dshift[Strip::kVectors];
    for (Index v = 0; v < Strip::kVectors; ++v) {
      scale[v] = strip.Load(gamma + column, v);
      dscale[v] = strip.Load(dgamma, v);
      dshift[v] = strip.Load(dbeta, v);
    }
    for (Index r = 0; r < count; ++r, up += width, in += width) {
      const auto m = hn::Set(d, means[r]), s = hn::Set(d, rstds[r]);
      auto sum = column == 0 ? hn::Zero(d) : hn::Load(d, sums.of(r));
      auto dot = column == 0 ? hn::Zero(d) : hn::Load(d, dots.of(r));
      for (Index v = 0; v < Strip::kVectors; ++v) {
        const auto dy = strip.Load(up, v);
        const auto hat = hn::Mul(hn::Sub(strip.Load(in, v), m), s);
        const auto dhat = hn::Mul(dy, scale[v]);
        sum = hn::Add(sum, dhat);
        dot = hn::MulAdd(dhat, hat, dot);
        dscale[v] = hn::MulAdd(dy, hat, dscale[v]);
        dshift[v] = hn::Add(dy, dshift[v]);
      }
      hn::Store(sum, d, sums.of(r));
      hn::Store(dot, d, dots.of(r));
    }
    for (Index v = 0; v < Strip::kVectors; ++v) {
      strip.Store(dscale[v], dgamma, v);
      strip.Store(dshift[v], dbeta, v);
    }
  }

  template <class Strip>
  HWY_INLINE void Write(Index first, Index count, Index column, Strip strip, const PerRow<T>& mean_sums,
                        const PerRow<T>& mean_dots) const {
    const hn::ScalableTag<T> d;
    const Index at = first * width + column;
    const T *up = dout + at, *in = x + at, *extra = dsum + at, *means = mean + first, *rstds = rstd + first;
    T* to = dx + at;
    const bool adds = dsum != nullptr;
    hn::Vec<decltype(d)> scale[Strip::kVectors];
    for (Index v = 0; v < Strip::kVectors; ++v) scale[v] = strip.Load(gamma + column, v);
    for (Index r = 0; r < count; ++r, up += width, in += width, extra += width, to += width) {
      const auto m = hn::Set(d, means[r]), s = hn::Set(d, rstds[r]);
      const auto mean_sum = hn::Set(d, mean_sums.of[r]), slope = hn::Mul(s, hn::Set(d, mean_dots.of[r]));
      for (Index v = 0; v < Strip::kVectors; ++v) {
        const auto dhat = hn::Mul(strip.Load(up, v), scale[v]);  // rounded as in the sum above
        const auto centred = hn::Sub(strip.Load(in, v), m);
        const auto inner = hn::NegMulAdd(centred, slope, hn::Sub(dhat, mean_sum));
        strip.Store(adds ? hn::MulAdd(s, inner, strip.Load(extra, v)) : hn::Mul(s, inner), to, v);
      }
    }
  }
};

template <class T>
void LayerNormGradRows(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                       const Tensor& dsum, Tensor& dx, Tensor& partial) {
  const Index width = x.dim(-1);
  const Gradient<T> gradient = {.width = width,
                                .dout = dout.data<T>(),
                                .x = x.data<T>(),
                                .gamma = gamma.data<T>(),
                                .mean = mean.data<T>(),
                                .rstd = rstd.data<T>(),
                                .dsum = dsum.defined() ? dsum.data<T>() : nullptr,
                                .dx = dx.data<T>()};
  T* partials = partial.data<T>();
  parallel_chunks(mean.size(), cpu::kRowsPerChunk, width * 8, [=](Index begin, Index end) HWY_ATTR {
    T* dgamma = partials + begin / cpu::kRowsPerChunk * 2 * width;
    T* dbeta = dgamma + width;
    std::fill(dgamma, dbeta + width, T(0));
    ForBlocks<T>(begin, end, width,
                 [&](Index first, Index count) HWY_ATTR { gradient.Block(first, count, dgamma, dbeta); });
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
