#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/conv1d/cpu.cpp"
#include "subquad/kernels/conv1d/cpu.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/tile-inl.h"

// Lanes are features. 256 positions of a head and K / 2 on either side of them are packed, with zeros for what is
// outside or padded; then eight (on AVX2 four) neighbouring results stay in registers while the window slides over
// their rows, so that each row is loaded once for eight multiply-adds.
HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kChunk = 256;  // positions per task
inline constexpr Index kTapTile = 8;  // taps whose gradients are summed in registers: enough to hide the adds' latency

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

// Rows of one head from position `first` on, in whole vectors. Rows outside of the sequence or not real are zeros.
template <class T>
class PackedRows {
 public:
  PackedRows(View<const T, 4> x, const bool* real, const Chunk& chunk, Index first, Index count)
      : width_((x.dim(3) + kLanes<T> - 1) / kLanes<T> * kLanes<T>),
        memory_(empty({count, width_}, dtype_of<T>(), kCpu)),
        rows_(memory_.data<T>()) {
    T* to = rows_;
    for (Index i = first; i < first + count; ++i, to += width_) {
      const bool there = i >= 0 && i < x.dim(2) && (real == nullptr || real[i]);
      const Index features = there ? x.dim(3) : 0;
      if (features > 0) std::copy_n(&x(chunk.b, chunk.h, i, 0), features, to);
      std::fill(to + features, to + width_, T(0));
    }
  }

  Index width() const { return width_; }
  const T* row(Index i) const { return rows_ + i * width_; }

 private:
  Index width_;
  Tensor memory_;
  T* rows_;
};

// tile[i] = sum_t taps[t] rows[i + t] for kTileRows neighbouring results of V vectors each; `taps` has kTileRows - 1
// zeros on either side.
template <int V, class D, class T = hn::TFromD<D>>
HWY_INLINE void SlideWindow(D d, const T* taps, Index tap_count, const T* rows, Index width, T* tile) {
  hn::Vec<D> sum[kTileRows][V];
  for (auto& result : sum)
    for (auto& part : result) part = hn::Zero(d);
  for (Index r = 0; r < tap_count + kTileRows - 1; ++r) {
    hn::Vec<D> row[V];
    for (int v = 0; v < V; ++v) row[v] = hn::Load(d, rows + r * width + v * kLanes<T>);
    for (int i = 0; i < kTileRows; ++i) {
      const auto tap = hn::Set(d, taps[r + kTileRows - 1 - i]);
      for (int v = 0; v < V; ++v) sum[i][v] = hn::MulAdd(tap, row[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kTileRows; ++i)
    for (int v = 0; v < V; ++v) hn::Store(sum[i][v], d, tile + (i * V + v) * kLanes<T>);
}

// to = sum, and base's if there is one.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreRow(D d, const T* sum, const T* base, Index columns, T* to) {
  ForVectors(d, columns, [&](Index c, auto lanes) HWY_ATTR {
    const auto added = lanes.Load(sum + c);
    lanes.Store(base == nullptr ? added : hn::Add(lanes.Load(base + c), added), to + c);
  });
}

// Zeros on either side of a head's taps; `reversed` for the gradient.
template <class T>
std::vector<T> PaddedTaps(const Tensor& taps, Index h, bool reversed) {
  const Index count = taps.dim(1);
  const T* from = taps.data<T>() + h * count;
  std::vector<T> out(static_cast<std::size_t>(count + 2 * (kTileRows - 1)), T(0));
  const auto to = out.begin() + (kTileRows - 1);
  if (reversed)
    std::reverse_copy(from, from + count, to);
  else
    std::copy_n(from, count, to);
  return out;
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
    ForChunks(x, taps.dim(1) / 4, [&](Index, const Chunk& chunk) HWY_ATTR {
      const Index tap_count = taps.dim(1), width = x.dim(3);
      const PackedRows<T> rows(x, RealOf(seen, chunk.b), chunk, chunk.first - tap_count / 2,
                               chunk.count + tap_count - 1 + kTileRows);
      const std::vector<T> padded = PaddedTaps<T>(taps, chunk.h, reversed);
      for (Index i = 0; i < chunk.count; i += kTileRows) {
        Index c = 0;
        for (; c + kLanes<T> < width; c += 2 * kLanes<T>) Tile<2>(rows, padded.data(), chunk, i, c);
        if (c < width) Tile<1>(rows, padded.data(), chunk, i, c);
      }
    });
  }

  // V vectors of features from `c` on, of the results number i, i + 1, ... of a chunk.
  template <int V>
  void Tile(const PackedRows<T>& rows, const T* padded_taps, const Chunk& chunk, Index i, Index c) const {
    const Vector<T> d;
    const Index columns = std::min(V * kLanes<T>, x.dim(3) - c);
    const bool* real = RealOf(written, chunk.b);
    HWY_ALIGN T tile[kTileRows * V * kLanes<T>];
    SlideWindow<V>(d, padded_taps, taps.dim(1), rows.row(i) + c, rows.width(), tile);
    for (Index r = 0; r < kTileRows && i + r < chunk.count; ++r) {
      const Index n = chunk.first + i + r;
      T* to = &out(chunk.b, chunk.h, n, c);
      if (real == nullptr || real[n])
        StoreRow(d, tile + r * V * kLanes<T>,
                 base.defined() ? &base.view<const T, 4>()(chunk.b, chunk.h, n, c) : nullptr, columns, to);
      else
        std::fill_n(to, columns, T(0));
    }
  }
};

// part[t] = sum_nc dout[n, c] x[n + t, c] over the rows of a chunk, for kTapTile taps.
template <class T>
HWY_INLINE void AddTaps(const PackedRows<T>& x, const PackedRows<T>& dout, Index count, Index first_tap, T* part) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[kTapTile];
  for (auto& tap : sum) tap = hn::Zero(d);
  for (Index c = 0; c < x.width(); c += kLanes<T>)
    for (Index n = 0; n < count; ++n) {
      const auto up = hn::Load(d, dout.row(n) + c);
      for (Index t = 0; t < kTapTile; ++t) sum[t] = hn::MulAdd(up, hn::Load(d, x.row(n + first_tap + t) + c), sum[t]);
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
    const PackedRows<T> rows(x, RealOf(mask, chunk.b), chunk, chunk.first - tap_count / 2, chunk.count + tiled);
    const PackedRows<T> upstream(dout, RealOf(given, chunk.b), chunk, chunk.first, chunk.count);
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
