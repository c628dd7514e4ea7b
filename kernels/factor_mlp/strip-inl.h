// What the forward and the backward of factor_mlp share: parameters packed into whole vectors, and strips of rows that
// go through all M perceptrons while they are in L1. Lanes are hidden values, inputs or outputs, never rows. Include
// inside the per-target part of a kernel (after targets.h and hwy/highway.h).
#if defined(SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_
#undef SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_
#else
#define SUBQUAD_KERNELS_FACTOR_MLP_STRIP_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

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
  Index stride() const { return row_; }
  Panel<T> panel() const { return {data_, row_}; }

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

// c[r][:] (+)= sum_k a(r, k) b[k][:] for rows of `c.row` numbers, whole vectors.
template <bool kAdd, class T>
HWY_INLINE void Multiply(Index rows, Left<T> a, Panel<const T> b, Index depth, Panel<T> c) {
  const Vector<T> d;
  Index at = 0;
  for (; at + 2 * kLanes<T> <= c.row; at += 2 * kLanes<T>)
    Product<2, kAdd>(d, rows, a, Panel<const T>{b.data + at, b.row}, depth, Panel<T>{c.data + at, c.row});
  if (at < c.row) Product<1, kAdd>(d, rows, a, Panel<const T>{b.data + at, b.row}, depth, Panel<T>{c.data + at, c.row});
}

template <class T>
HWY_INLINE void FillRows(Index rows, Panel<const T> bias, Panel<T> to) {
  for (Index r = 0; r < rows; ++r) std::copy_n(bias.data, to.row, to.data + r * to.row);
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

  static Index number_of(Index batch, Index positions) { return batch * ((positions + kStripRows - 1) / kStripRows); }
};

// to[r] = the strip's rows of matrix [positions, width]
template <class T>
HWY_INLINE void ReadRows(const Strip& strip, const T* matrix, Index width, Panel<T> to) {
  for (Index r = 0; r < strip.count; ++r) {
    std::copy_n(matrix + strip.position[r] * width, width, to.data + r * to.row);
    std::fill(to.data + r * to.row + width, to.data + (r + 1) * to.row, T(0));
  }
}

// The opposite; padded positions become 0.
template <class T>
HWY_INLINE void WriteRows(const Strip& strip, Panel<const T> rows, T* matrix, Index width) {
  if (strip.count < strip.end - strip.begin) std::fill(matrix + strip.begin * width, matrix + strip.end * width, T(0));
  for (Index r = 0; r < strip.count; ++r)
    std::copy_n(rows.data + r * rows.row, width, matrix + strip.position[r] * width);
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
