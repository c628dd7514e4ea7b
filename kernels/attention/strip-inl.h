// What attention's forward and backward share: strips of two vectors (kStrip lanes), each lane one query or key of a
// head. Everything is a product of a strip with rows that are read one number at a time; sums, maxima and rescaling go
// down the lanes, so nothing is ever added across them and no lane knows what stands in another.
#if defined(SUBQUAD_KERNELS_ATTENTION_STRIP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_ATTENTION_STRIP_INL_H_
#undef SUBQUAD_KERNELS_ATTENTION_STRIP_INL_H_
#else
#define SUBQUAD_KERNELS_ATTENTION_STRIP_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <numbers>

#include "subquad/core/allocator.h"
#include "subquad/kernels/attention/seen.h"
#include "subquad/kernels/simd/exp2-inl.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/tile-inl.h"
#include "subquad/kernels/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

template <class T>
using Vector = hn::ScalableTag<T>;
template <class T>
inline constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Vector<T>()));
template <class T>
inline constexpr Index kStrip = 2 * kLanes<T>;

// What turns logits to base 2, for Exp2. Only differences of logits may be multiplied by it: log2(e) has no exact
// float, and its rounding times a large logit would be an error of many units.
template <class D>
HWY_INLINE hn::Vec<D> Log2E(D d) {
  return hn::Set(d, std::numbers::log2e_v<hn::TFromD<D>>);
}

// Rows of a strip that are worked on together: in float32 an array [64][32] has 8 KiB, so two of them and the operands
// of the products stay in L1.
inline constexpr Index kBlock = 64;

// Numbers on a cache line, from the caching allocator.
template <class T>
class Buffer {
 public:
  explicit Buffer(Index count) : memory_(empty({count}, dtype_of<T>(), kCpu)), data_(memory_.data<T>()) {}
  T* data() const { return data_; }
  void zero() { std::fill_n(data_, memory_.size(), T(0)); }
  Index size() const { return memory_.size(); }

 private:
  Tensor memory_;
  T* data_;
};

// `width` rounded up to whole vectors.
template <class T>
constexpr Index WholeVectors(Index width) {
  return (width + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// to[e] = scale * from[e], and zeros up to the next whole vector
template <class T>
HWY_INLINE void PackRow(const T* from, Index width, T scale, T* to) {
  const Vector<T> d;
  const auto factor = hn::Set(d, scale);
  ForVectors(d, width,
             [&](Index e, auto lanes) HWY_ATTR { hn::Store(hn::Mul(factor, lanes.Load(from + e)), d, to + e); });
}

template <class T>
HWY_INLINE void CopyRow(const T* from, Index width, T* to) {
  ForVectors(Vector<T>(), width, [&](Index e, auto lanes) HWY_ATTR { lanes.Store(lanes.Load(from + e), to + e); });
}

// Asks for the row that stands `distance` numbers behind this one. Lines that are columns of a grid jump from page to
// page, and heads' rows lie between each other, where no processor fetches ahead by itself.
template <class T>
HWY_INLINE void FetchAhead(const T* row, Index distance, Index width) {
  for (Index e = 0; e < width; e += static_cast<Index>(kAlignment / sizeof(T))) hwy::Prefetch(row + distance + e);
}
inline constexpr Index kRowsAhead = 16;

// packed[a] = scale * x[b, h, positions[a], :]
template <class T>
Buffer<T> PackRows(View<const T, 4> x, Index b, Index h, std::span<const Index> positions, T scale = 1) {
  const Vector<T> d;
  const Index width = x.dim(3);
  const auto factor = hn::Set(d, scale);
  Buffer<T> packed(static_cast<Index>(positions.size()) * width);
  T* to = packed.data();
  for (const Index i : positions) {
    const T* from = &x(b, h, i, 0);
    FetchAhead(from, kRowsAhead * x.stride(2), width);
    ForVectors(d, width,
               [&](Index e, auto lanes) HWY_ATTR { lanes.Store(hn::Mul(factor, lanes.Load(from + e)), to + e); });
    to += width;
  }
  return packed;
}

// Queries that do not repay packing the keys that they see.
inline constexpr Index kFewQueries = 128;

// Rows that are read number by number, packed or, where no padding is among them, as they lie.
template <class T>
class KeyRows {
 public:
  KeyRows(View<const T, 4> x, Index b, Index h, std::span<const Index> positions, bool pack)
      : packed_(0), data_(nullptr), row_(x.dim(3)) {
    const auto count = static_cast<Index>(positions.size());
    if (pack || count == 0 || positions.back() - positions.front() != count - 1) {
      packed_ = PackRows(x, b, h, positions);
      data_ = packed_.data();
    } else {
      data_ = &x(b, h, positions.front(), 0);
      row_ = x.stride(2);
    }
  }
  Left<T> from(Index j) const { return {data_ + j * row_, row_, 1}; }         // row j, j + 1, ...
  Left<T> turned_from(Index j) const { return {data_ + j * row_, 1, row_}; }  // the same as columns

 private:
  Buffer<T> packed_;
  const T* data_;
  Index row_;
};

// The rows of x that the lanes of a strip stand for; lanes beyond the last one share `spare`, a row of its own.
template <class T>
struct StripRows {
  T* row[kStrip<T>];

  explicit StripRows(T* spare) { std::fill(row, row + kStrip<T>, spare); }
  StripRows(View<T, 4> x, Index b, Index h, std::span<const Index> positions, T* spare) : StripRows(spare) {
    for (std::size_t lane = 0; lane < positions.size(); ++lane) row[lane] = &x(b, h, positions[lane], 0);
  }
};

// strip[e][lane] = scale * rows[lane][e]
template <class T>
void LoadStrip(const StripRows<const T>& rows, Index width, T scale, T* strip) {
  const Vector<T> d;
  for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>)
    RowsToLanes(d, rows.row + lane, width, hn::Set(d, scale), strip + lane, kStrip<T>);
}

// rows[lane][e] = scale[lane] * strip[e][lane]
template <class T>
void StoreStrip(const T* strip, const T* scale, Index width, const StripRows<T>& rows) {
  const Vector<T> d;
  for (Index lane = 0; lane < kStrip<T>; lane += kLanes<T>)
    LanesToRows(d, strip + lane, kStrip<T>, width, hn::Load(d, scale + lane), rows.row + lane);
}

// padded[lane][e] = scale * rows[lane][e] for the first `count` lanes, zeros behind the last e.
template <class T>
void LoadPaddedRows(const StripRows<const T>& rows, Index count, Index width, T scale, Index padded_width, T* padded) {
  for (Index l = 0; l < count; ++l) PackRow(rows.row[l], width, scale, padded + l * padded_width);
}

// sum[r, :] += sum_l weights[r, l] padded[l, :] for a block of weights [count][kStrip], two vectors at a time.
template <class T>
HWY_INLINE void AddWeightedRows(const T* weights, Index count, Index lanes, const T* padded, Index padded_width,
                                Panel<T> sum) {
  const Vector<T> d;
  const Left<T> left{weights, kStrip<T>, 1};
  Index e = 0;
  for (; e + kStrip<T> <= padded_width; e += kStrip<T>)
    Product<2, true>(d, count, left, Panel<const T>{padded + e, padded_width}, lanes, Panel<T>{sum.data + e, sum.row});
  if (e < padded_width)
    Product<1, true>(d, count, left, Panel<const T>{padded + e, padded_width}, lanes, Panel<T>{sum.data + e, sum.row});
}
template <class T>
HWY_INLINE void AddWeightedRows(const T* weights, Index count, Index lanes, const T* padded, Index padded_width,
                                T* sum) {
  AddWeightedRows(weights, count, lanes, padded, padded_width, Panel<T>{sum, padded_width});
}

// f(i) for every position i < count that `kept` (rising) leaves out.
template <class F>
void ForOthers(std::span<const Index> kept, Index count, F&& f) {
  auto next = kept.begin();
  for (Index i = 0; i < count; ++i) {
    if (next != kept.end() && *next == i)
      ++next;
    else
      f(i);
  }
}

template <class T>
void ZeroOthers(std::span<const Index> kept, View<T, 4> x, Index b, Index h) {
  ForOthers(kept, x.dim(2), [&](Index i) { std::fill_n(&x(b, h, i, 0), x.dim(3), T(0)); });
}

}  // namespace
}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
