#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/conv1d/cpu.cpp"
#include "subquad/kernels/conv1d/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/tile-inl.h"

// Lanes are features. 256 positions of a head and K / 2 on either side of them are read where they stand; or, where
// some are outside or padded or are no whole vectors, packed, with zeros for them. Eight (on AVX2 four) neighbouring
// results stay in registers while the window slides over their rows, so that each row is loaded once for eight
// multiply-adds.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kChunk = 256;  // positions per task
inline constexpr Index kTapTile =
    12;  // taps whose gradients are summed in registers: three tiles are the usual 35 taps

template <class T>
using Vector = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Vector<T>()));

// Up to kChunk positions of one head.
struct Chunk {
  Index b, h, first, count;
};

Index ChunkCount(Index positions) {
  return (positions + kChunk - 1) / kChunk;
}

// f(number of the chunk, chunk) for all chunks of all heads of x, `work` per element.
template <class T, class F>
void ForChunks(View<const T, 4> x, Index work, const F& f) {
  const Index heads = x.dim(1), positions = x.dim(2), chunks = ChunkCount(positions);
  parallel_for(x.dim(0) * heads * chunks, std::min(kChunk, positions) * x.dim(3) * work, [&](Index task) {
    const Index first = task % chunks * kChunk;
    f(task, Chunk{task / chunks / heads, task / chunks % heads, first, std::min(kChunk, positions - first)});
  });
}

// Which positions of sample b are real; null = all.
const bool* RealOf(const Mask& mask, Index b) {
  return mask.defined() ? mask.real.data<bool>() + b * mask.real.dim(1) : nullptr;
}

// Rows [first, first + count) of one head. Those outside of the sequence or not real are zeros, and so are features
// beyond the last, up to a whole vector.
template <class T>
class Rows {
 public:
  Rows(View<const T, 4> x, const bool* real, const Chunk& chunk, Index first, Index count)
      : width_((x.dim(3) + kLanes<T> - 1) / kLanes<T> * kLanes<T>) {
    const bool inside = x.dim(3) > 0 && first >= 0 && first + count <= x.dim(2);
    if (inside && width_ == x.dim(3) && (real == nullptr || std::all_of(real + first, real + first + count, IsReal))) {
      rows_ = &x(chunk.b, chunk.h, first, 0);
      step_ = x.stride(2);
      return;
    }
    memory_ = empty({count, width_}, dtype_of<T>(), kCpu);
    T* to = memory_.template data<T>();
    rows_ = to;
    step_ = width_;
    for (Index i = first; i < first + count; ++i, to += width_) {
      const bool there = i >= 0 && i < x.dim(2) && (real == nullptr || real[i]);
      const Index features = there ? x.dim(3) : 0;
      if (features > 0) std::copy_n(&x(chunk.b, chunk.h, i, 0), features, to);
      std::fill(to + features, to + width_, T(0));
    }
  }

  Index width() const { return width_; }
  Index step() const { return step_; }
  const T* row(Index i) const { return rows_ + i * step_; }

 private:
  static bool IsReal(bool real) { return real; }

  Index width_, step_;
  Tensor memory_;  // where they are packed
  const T* rows_;
};

// The filter of one head, with zeros behind it where it has fewer taps than there are results in a tile.
template <class T>
class Filter {
 public:
  // reversed: for the gradient
  Filter(const Tensor& taps, Index h, bool reversed)
      : taps_(static_cast<std::size_t>(std::max<Index>(taps.dim(1), kTileRows)), T(0)) {
    const T* from = taps.data<T>() + h * taps.dim(1);
    if (reversed)
      std::reverse_copy(from, from + taps.dim(1), taps_.begin());
    else
      std::copy_n(from, taps.dim(1), taps_.begin());
  }

  Index count() const { return static_cast<Index>(taps_.size()); }
  const T* taps() const { return taps_.data(); }

 private:
  std::vector<T> taps_;
};

// kTileRows neighbouring results of V vectors each: sum[i] = sum_t taps[t] rows[i + t].
template <int V, class D, class T = hn::TFromD<D>>
class Window {
 public:
  HWY_INLINE Window(D d, const Filter<T>& filter, const T* rows, Index step)
      : d_(d), taps_(filter.taps()), rows_(rows), step_(step) {
    for (auto& result : sum_)
      for (auto& part : result) part = hn::Zero(d);
    Enter(std::make_integer_sequence<int, kTileRows - 1>());
    for (Index r = kTileRows - 1; r < filter.count(); ++r) Row<0, kTileRows>(r);
    Leave(filter.count(), std::make_integer_sequence<int, kTileRows - 1>());
  }

  // f(i, v, vector v of result i)
  template <class F>
  HWY_INLINE void ForAll(const F& f) const {
    for (int i = 0; i < kTileRows; ++i)
      for (int v = 0; v < V; ++v) f(i, v, sum_[i][v]);
  }

 private:
  template <int... R>
  HWY_INLINE void Enter(std::integer_sequence<int, R...> /*rows that not all results have reached*/) {
    (Row<0, R + 1>(R), ...);
  }
  template <int... R>
  HWY_INLINE void Leave(Index count, std::integer_sequence<int, R...> /*rows that some results have passed*/) {
    (Row<R + 1, kTileRows>(count + R), ...);
  }

  // What row r adds to the results from kFirst on.
  template <int kFirst, int kLast>
  HWY_INLINE void Row(Index r) {
    hn::Vec<D> row[V];
    for (int v = 0; v < V; ++v) row[v] = hn::LoadU(d_, rows_ + r * step_ + v * kLanes<T>);
    for (int i = kFirst; i < kLast; ++i) {
      const auto tap = hn::Set(d_, taps_[r - i]);
      for (int v = 0; v < V; ++v) sum_[i][v] = hn::MulAdd(tap, row[v], sum_[i][v]);
    }
  }

  D d_;
  const T* taps_;
  const T* rows_;
  Index step_;
  hn::Vec<D> sum_[kTileRows][V];
};

// to = sum, and base's if there is one.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreRow(D d, const T* sum, const T* base, Index columns, T* to) {
  ForVectors(d, columns, [&](Index c, auto lanes) HWY_ATTR {
    const auto added = lanes.Load(sum + c);
    lanes.Store(base == nullptr ? added : hn::Add(lanes.Load(base + c), added), to + c);
  });
}

template <class T>
struct Convolution {
  View<const T, 4> x;
  const Mask& seen;  // rows of x that are not real count as 0
  const Tensor& taps;
  bool reversed;
  const Tensor& base;   // may be undefined
  const Mask& written;  // rows of out that are not real become 0
  View<T, 4> out;

  void operator()() const {
    std::vector<Filter<T>> filters;
    for (Index h = 0; h < x.dim(1); ++h) filters.emplace_back(taps, h, reversed);
    ForChunks(x, taps.dim(1) / 4, [&](Index, const Chunk& chunk) HWY_ATTR {
      const Index width = x.dim(3), tiled = (chunk.count + kTileRows - 1) / kTileRows * kTileRows;
      const Filter<T>& filter = filters[static_cast<std::size_t>(chunk.h)];
      const Rows<T> rows(x, RealOf(seen, chunk.b), chunk, chunk.first - taps.dim(1) / 2, tiled + filter.count() - 1);
      for (Index i = 0; i < chunk.count; i += kTileRows) {
        Index c = 0;
        for (; c + kLanes<T> < width; c += 2 * kLanes<T>) Tile<2>(rows, filter, chunk, i, c);
        if (c < width) Tile<1>(rows, filter, chunk, i, c);
      }
    });
  }

  // V vectors of features from `c` on, of the results number i, i + 1, ... of a chunk.
  template <int V>
  void Tile(const Rows<T>& rows, const Filter<T>& filter, const Chunk& chunk, Index i, Index c) const {
    const Vector<T> d;
    const Window<V, Vector<T>> window(d, filter, rows.row(i) + c, rows.step());
    const Index n = chunk.first + i, count = std::min<Index>(kTileRows, chunk.count - i);
    const Index columns = std::min(V * kLanes<T>, x.dim(3) - c);
    const bool* real = RealOf(written, chunk.b);
    T* to = &out(chunk.b, chunk.h, n, c);
    const T* from = base.defined() ? &base.view<const T, 4>()(chunk.b, chunk.h, n, c) : nullptr;
    const Index to_step = out.stride(2), from_step = base.defined() ? base.strides()[2] : 0;
    const bool all = count == kTileRows && columns == V * kLanes<T> &&
                     (real == nullptr || std::all_of(real + n, real + n + count, [](bool there) { return there; }));
    if (all) {
      window.ForAll([&](int r, int v, auto sum) HWY_ATTR {
        const Index at = v * kLanes<T>;
        hn::StoreU(from == nullptr ? sum : hn::Add(hn::LoadU(d, from + r * from_step + at), sum), d,
                   to + r * to_step + at);
      });
      return;
    }
    HWY_ALIGN T tile[kTileRows * V * kLanes<T>];
    window.ForAll([&](int r, int v, auto sum) HWY_ATTR { hn::Store(sum, d, tile + (r * V + v) * kLanes<T>); });
    for (Index r = 0; r < count; ++r)
      if (real == nullptr || real[n + r])
        StoreRow(d, tile + r * V * kLanes<T>, from == nullptr ? nullptr : from + r * from_step, columns,
                 to + r * to_step);
      else
        std::fill_n(to + r * to_step, columns, T(0));
  }
};

// part[t] = sum_nc dout[n, c] x[n + t, c] over the rows of a chunk, for kTapTile taps. Two positions at a time: most
// rows of x meet both.
template <class T>
HWY_INLINE void AddTaps(const Rows<T>& x, const Rows<T>& dout, Index count, Index first_tap, T* part) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[kTapTile];
  for (auto& tap : sum) tap = hn::Zero(d);
  for (Index c = 0; c < x.width(); c += kLanes<T>) {
    const T *row = x.row(first_tap) + c, *up = dout.row(0) + c;
    Index n = 0;
    for (; n + 2 <= count; n += 2, row += 2 * x.step(), up += 2 * dout.step()) {
      const auto first = hn::LoadU(d, up), second = hn::LoadU(d, up + dout.step());
      sum[0] = hn::MulAdd(first, hn::LoadU(d, row), sum[0]);
      for (Index t = 1; t < kTapTile; ++t) {
        const auto v = hn::LoadU(d, row + t * x.step());
        sum[t - 1] = hn::MulAdd(second, v, sum[t - 1]);
        sum[t] = hn::MulAdd(first, v, sum[t]);
      }
      sum[kTapTile - 1] = hn::MulAdd(second, hn::LoadU(d, row + kTapTile * x.step()), sum[kTapTile - 1]);
    }
    if (n < count)
      for (Index t = 0; t < kTapTile; ++t)
        sum[t] = hn::MulAdd(hn::LoadU(d, up), hn::LoadU(d, row + t * x.step()), sum[t]);
  }
  for (Index t = 0; t < kTapTile; ++t) part[t] = SumLanes(d, sum[t]);
}

template <class T>
void CopyRealRows(View<const T, 4> from, const Mask& mask, View<T, 4> to) {
  ForChunks(from, 1, [&](Index, const Chunk& chunk) {
    const bool* real = RealOf(mask, chunk.b);
    for (Index n = chunk.first; n < chunk.first + chunk.count; ++n) {
      T* row = &to(chunk.b, chunk.h, n, 0);
      if (real == nullptr || real[n])
        std::copy_n(&from(chunk.b, chunk.h, n, 0), from.dim(3), row);
      else
        std::fill_n(row, from.dim(3), T(0));
    }
  });
}

// `given` tells which rows of dout do not count as 0.
template <class T>
void TapGradient(View<const T, 4> dout, View<const T, 4> x, const Mask& mask, const Mask& given, Tensor& dtaps) {
  const Index heads = x.dim(1), tap_count = dtaps.dim(1), chunks = ChunkCount(x.dim(2));
  const Index tiled = (tap_count + kTapTile - 1) / kTapTile * kTapTile;
  Tensor memory = empty({x.dim(0) * heads * chunks, tiled}, dtaps.dtype(), kCpu);
  T* parts = memory.data<T>();
  ForChunks(x, tap_count / 4, [&](Index task, const Chunk& chunk) HWY_ATTR {
    const Rows<T> rows(x, RealOf(mask, chunk.b), chunk, chunk.first - tap_count / 2, chunk.count + tiled);
    const Rows<T> upstream(dout, RealOf(given, chunk.b), chunk, chunk.first, chunk.count);
    for (Index t = 0; t < tiled; t += kTapTile) AddTaps(rows, upstream, chunk.count, t, parts + task * tiled + t);
  });
  fill(dtaps, 0);
  T* out = dtaps.data<T>();
  for (Index task = 0; task < x.dim(0) * heads * chunks; ++task)
    for (Index t = 0; t < tap_count; ++t) out[task / chunks % heads * tap_count + t] += parts[task * tiled + t];
}

}  // namespace

// What zeroes rows that are not real, where padded rows are zero.
Mask Zeroing(const Mask& mask, PaddedRows padded) {
  return padded == PaddedRows::zero ? mask : Mask();
}

void Conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, PaddedRows padded, Tensor& out) {
  const Mask written = Zeroing(mask, padded);
  visit_float("conv1d", x.dtype(), [&]<class T>(Type<T>) {
    Convolution<T>{x.view<const T, 4>(), mask, taps, false, base, written, out.view<T, 4>()}();
  });
}

void Conv1dGrad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask, PaddedRows padded,
                Conv1dGrads& grads) {
  const Mask given = Zeroing(mask, padded);
  visit_float("conv1d_grad", x.dtype(), [&]<class T>(Type<T>) {
    const auto upstream = dout.view<const T, 4>();
    Convolution<T>{upstream, given, taps, true, {}, mask, grads.dx.view<T, 4>()}();
    TapGradient<T>(upstream, x.view<const T, 4>(), mask, given, grads.dtaps);
    if (grads.dbase.defined()) CopyRealRows<T>(upstream, given, grads.dbase.view<T, 4>());
  });
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace subquad::kernels {

HWY_EXPORT(Conv1d);
HWY_EXPORT(Conv1dGrad);

void cpu::conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, PaddedRows padded,
                 Tensor& out) {
  SUBQUAD_DISPATCH(Conv1d)(x, taps, mask, base, padded, out);
}

void cpu::conv1d_grad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask, PaddedRows padded,
                      Conv1dGrads& grads) {
  SUBQUAD_DISPATCH(Conv1dGrad)(dout, x, taps, mask, padded, grads);
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
