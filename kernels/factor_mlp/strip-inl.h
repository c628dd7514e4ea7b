// What the forward and the backward of factor_mlp share: parameters packed into whole vectors, and strips of rows that
// go through all M perceptrons while they are in L1. Lanes are hidden values, inputs or outputs, never rows. Include
// inside the per-target part of a kernel (after targets.h and hwy/highway.h).
#if defined(SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_
#undef SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_
#else
#define SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "subquad/core/mask.h"
#include "subquad/kernels/simd/erf-inl.h"
#include "subquad/kernels/simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
using Vector = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Vector<T>()));

inline constexpr Index kStripRows = 64;

template <class T>
Index WholeVectors(Index width) {
  return (width + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// Rows of whole vectors on a cache line, from the caching allocator.
template <class T>
class Rows {
 public:
  Rows(Index count, Index width)
      : row_(WholeVectors<T>(width)), memory_(empty({count * row_}, dtype_of<T>(), kCpu)), data_(memory_.data<T>()) {}
  T* data() const { return data_; }
  T* row(Index i) const { return data_ + i * row_; }
  Index size() const { return memory_.size(); }
  Index stride() const { return row_; }
  Panel<T> panel() const { return {data_, row_}; }
  Panel<const T> read() const { return {data_, row_}; }

 private:
  Index row_;
  Tensor memory_;
  T* data_;
};

// M matrices [R, W] of a tensor of any strides, rows filled up with zeros.
template <class T>
class Panels {
 public:
  explicit Panels(const Tensor& matrices)
      : height_(matrices.dim(1)), rows_(matrices.dim(0) * height_, matrices.dim(2)) {
    const auto from = matrices.view<const T, 3>();
    for (Index m = 0; m < from.dim(0); ++m)
      for (Index r = 0; r < height_; ++r) {
        T* to = rows_.row(m * height_ + r);
        for (Index c = 0; c < from.dim(2); ++c) to[c] = from(m, r, c);
        std::fill(to + from.dim(2), to + rows_.stride(), T(0));
      }
  }
  Panel<const T> of(Index m) const { return {rows_.row(m * height_), rows_.stride()}; }

 private:
  Index height_;
  Rows<T> rows_;
};

// What a product starts from, and what becomes of it: vectors of row r from column c on.
template <class T>
struct FromZero {
  HWY_INLINE hn::Vec<Vector<T>> Load(Index /*r*/, Index /*c*/) const { return hn::Zero(Vector<T>()); }
};
template <class T>
struct FromBias {
  const T* bias;
  HWY_INLINE hn::Vec<Vector<T>> Load(Index /*r*/, Index c) const { return hn::Load(Vector<T>(), bias + c); }
};
template <class T>
struct Whole {  // rows of whole vectors
  Panel<T> rows;
  HWY_INLINE hn::Vec<Vector<T>> Load(Index r, Index c) const { return hn::Load(Vector<T>(), At(r, c)); }
  HWY_INLINE void Store(Index r, Index c, hn::Vec<Vector<T>> v) const { hn::Store(v, Vector<T>(), At(r, c)); }
  HWY_INLINE T* At(Index r, Index c) const { return rows.data + r * rows.row + c; }
};
template <class T>
struct Narrow {  // `width` numbers in each of the rows at positions[r]
  T* matrix;
  const Index* positions;
  Index width;
  HWY_INLINE void Store(Index r, Index c, hn::Vec<Vector<T>> v) const {
    const Vector<T> d;
    T* to = matrix + positions[r] * width + c;
    if (c + kLanes<T> <= width)
      hn::StoreU(v, d, to);
    else
      hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(width - c)), d, to);
  }
};

// start + sum_k a(r, k) b[k][c, ...) for R rows from `row` on and V vectors from column c on, held in registers. Rows
// of a go in fours, told apart by three distances that all fours share: an address for each row would not fit into
// registers.
template <int R, int V, class T, class From, class To>
HWY_INLINE void Tile(Index row, Index column, Left<T> a, Panel<const T> b, Index depth, const From& start,
                     const To& to) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = start.Load(row + r, column + v * kLanes<T>);
  constexpr int kFours = (R + 3) / 4;
  const T *left[kFours], *right = b.data + column;
  for (int four = 0; four < kFours; ++four) left[four] = a.data + (row + 4 * four) * a.row;
  const Index distance[4] = {0, a.row, 2 * a.row, 3 * a.row};
  for (Index k = 0; k < depth; ++k) {
    hn::Vec<Vector<T>> term[V];
    for (int v = 0; v < V; ++v) term[v] = hn::Load(d, right + v * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto factor = hn::Set(d, left[r / 4][distance[r % 4]]);
      for (int v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(factor, term[v], sum[r][v]);
    }
    for (int four = 0; four < kFours; ++four) left[four] += a.step;
    right += b.row;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) to.Store(row + r, column + v * kLanes<T>, sum[r][v]);
}

// Tiles of R rows below row `last`; the first row that is left.
template <int R, int V, class T, class From, class To>
HWY_INLINE Index TilesOfHeight(Index row, Index last, Index column, Left<T> a, Panel<const T> b, Index depth,
                               From start, To to) {
  for (; row + R <= last; row += R) Tile<R, V>(row, column, a, b, depth, start, to);
  return row;
}

// All rows of V vectors.
template <int V, class T, class From, class To>
HWY_INLINE void Tiles(Index rows, Index column, Left<T> a, Panel<const T> b, Index depth, const From& start,
                      const To& to) {
  Index r = 0;
  if constexpr (V == 1) r = TilesOfHeight<2 * kTileRows, V>(r, rows, column, a, b, depth, start, to);
  r = TilesOfHeight<kTileRows, V>(r, rows, column, a, b, depth, start, to);
  if constexpr (kTileRows > 4) r = TilesOfHeight<4, V>(r, rows, column, a, b, depth, start, to);
  if (r + 3 == rows) TilesOfHeight<3, V>(r, rows, column, a, b, depth, start, to);
  if (r + 2 == rows) TilesOfHeight<2, V>(r, rows, column, a, b, depth, start, to);
  if (r + 1 == rows) TilesOfHeight<1, V>(r, rows, column, a, b, depth, start, to);
}

// to[r][:] = start[r][:] + sum_k a(r, k) b[k][:]. Each element is one chain of multiply-adds in the order of k.
template <class T, class From, class To>
HWY_INLINE void Multiply(Index rows, Left<T> a, Panel<const T> b, Index depth, const From& start, const To& to) {
  Index c = 0;
  for (; c + 2 * kLanes<T> <= b.row; c += 2 * kLanes<T>) Tiles<2>(rows, c, a, b, depth, start, to);
  if (c < b.row) Tiles<1>(rows, c, a, b, depth, start, to);
}

// f(count, i) for all vectors of `rows`, as many as `count` says from number i on.
template <class T, class F>
HWY_INLINE void ForSeveral(const Rows<T>& rows, const F& f) {
  constexpr int kSeveral = 4;
  Index i = 0;
  for (; i + kSeveral * kLanes<T> <= rows.size(); i += kSeveral * kLanes<T>)
    f(std::integral_constant<int, kSeveral>(), i);
  for (; i < rows.size(); i += kLanes<T>) f(std::integral_constant<int, 1>(), i);
}

// z becomes gelu(z).
template <class T>
HWY_INLINE void Activate(const Rows<T>& hidden) {
  ForSeveral(hidden, [&]<int kCount>(std::integral_constant<int, kCount>, Index i) HWY_ATTR {
    const Vector<T> d;
    T* at = hidden.data() + i;
    hn::Vec<Vector<T>> z[kCount], gelu[kCount];
    for (int v = 0; v < kCount; ++v) z[v] = hn::Load(d, at + v * kLanes<T>);
    GeluOfEach<kCount>(d, z, gelu);
    for (int v = 0; v < kCount; ++v) hn::Store(gelu[v], d, at + v * kLanes<T>);
  });
}

// z becomes gelu(z), and the gradient of that the gradient of z.
template <class T>
HWY_INLINE void ActivateBack(const Rows<T>& hidden, const Rows<T>& dhidden) {
  ForSeveral(hidden, [&]<int kCount>(std::integral_constant<int, kCount>, Index i) HWY_ATTR {
    const Vector<T> d;
    T *at = hidden.data() + i, *grad = dhidden.data() + i;
    hn::Vec<Vector<T>> z[kCount], gelu[kCount], slope[kCount];
    for (int v = 0; v < kCount; ++v) z[v] = hn::Load(d, at + v * kLanes<T>);
    GeluAndSlopeOfEach<kCount>(d, z, gelu, slope);
    for (int v = 0; v < kCount; ++v) slope[v] = hn::Mul(hn::Load(d, grad + v * kLanes<T>), slope[v]);
    for (int v = 0; v < kCount; ++v) {
      hn::Store(gelu[v], d, at + v * kLanes<T>);
      hn::Store(slope[v], d, grad + v * kLanes<T>);
    }
  });
}

// The real ones among up to kStripRows neighbouring positions of one sample.
struct Strip {
  Index sample, count = 0;
  Index begin, end;  // positions, the padded ones included
  Index position[kStripRows];

  Strip(Index number, const Mask& mask, Index positions) {
    const Index per_sample = (positions + kStripRows - 1) / kStripRows;
    sample = number / per_sample;
    begin = number % per_sample * kStripRows;
    end = std::min(positions, begin + kStripRows);
    const bool* real = mask.defined() ? mask.real.data<bool>() + sample * positions : nullptr;
    for (Index i = begin; i < end; ++i)
      if (real == nullptr || real[i]) position[count++] = i;
  }

  bool whole() const { return count == end - begin; }

  static Index number_of(Index batch, Index positions) { return batch * ((positions + kStripRows - 1) / kStripRows); }
};

// The strip's rows of matrix [positions, width] as a left factor: in place or, where padding is among them, from
// `copy`, room for them in whole vectors.
template <class T>
HWY_INLINE Left<T> LeftRows(const Strip& strip, const T* matrix, Index width, const Rows<T>& copy) {
  if (strip.whole()) return {matrix + strip.begin * width, width, 1};
  for (Index r = 0; r < strip.count; ++r) std::copy_n(matrix + strip.position[r] * width, width, copy.row(r));
  return {copy.data(), copy.stride(), 1};
}

// What padded positions of matrix [positions, width] get.
template <class T>
HWY_INLINE void ZeroPadding(const Strip& strip, T* matrix, Index width) {
  if (!strip.whole()) std::fill(matrix + strip.begin * width, matrix + strip.end * width, T(0));
}

// Asks for `count` numbers from `from` on: what is read row by row, or M times over with much in between, the processor
// does not foresee.
template <class T>
HWY_INLINE void Prefetch(const T* from, Index count) {
  constexpr Index kLine = static_cast<Index>(64 / sizeof(T));
  for (Index i = 0; i < count; i += kLine) hwy::Prefetch(from + i);
}

// The m-th of `shares` of what follows the strip in matrix [B, positions, width], for the next strip.
template <class T>
HWY_INLINE void PrefetchNext(const Strip& strip, const T* sample, Index width, Index m, Index shares) {
  const Index size = kStripRows * width, begin = m * size / shares;
  Prefetch(sample + strip.end * width + begin, (m + 1) * size / shares - begin);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
