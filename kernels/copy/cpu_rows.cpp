#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/copy/cpu_rows.cpp"
#include "subquad/kernels/copy/rows.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "subquad/core/parallel.h"
#include "subquad/kernels/simd/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {

// sum = the rows of x at `count` places, one after the other. They lie wherever the places say, so the processor does
// not foresee them: those that come next are asked for.
template <class T>
void AddPlaces(const T* x, Index width, const Index* place, Index count, T* sum) {
  constexpr Index kAhead = 16;
  const hn::ScalableTag<T> d;
  ForStrips(d, width, [&](Index c, auto strip) HWY_ATTR {
    constexpr Index kVectors = decltype(strip)::kVectors, kLanes = hn::MaxLanes(hn::ScalableTag<T>());
    hn::Vec<decltype(d)> total[kVectors];
    for (Index v = 0; v < kVectors; ++v) total[v] = hn::Zero(d);
    for (Index p = 0; p < count; ++p) {
      const T *row = x + place[p] * width + c, *next = x + place[std::min(p + kAhead, count - 1)] * width + c;
      for (Index v = 0; v < kVectors; ++v) {
        total[v] = hn::Add(total[v], strip.Load(row, v));
        hwy::Prefetch(next + v * kLanes);
      }
    }
    for (Index v = 0; v < kVectors; ++v) strip.Store(total[v], sum + c, v);
  });
}

void AddPlacesFloat(const float* x, Index width, const Index* place, Index count, float* sum) {
  AddPlaces(x, width, place, count, sum);
}
void AddPlacesDouble(const double* x, Index width, const Index* place, Index count, double* sum) {
  AddPlaces(x, width, place, count, sum);
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(AddPlacesFloat);
HWY_EXPORT(AddPlacesDouble);

namespace cpu {
namespace {

constexpr Index kPiece = 256;  // rows added one after the other

// Which places hold which row, by counting sort: places of row r are sorted[first[r]] ... sorted[first[r + 1] - 1],
// rising.
struct Places {
  Tensor first;   // int64 [R + 1]
  Tensor sorted;  // int64 [J]
};

Places places_of(const Tensor& index, Index rows) {
  Places out{zeros({rows + 1}, kInt64, kCpu), empty({index.size()}, kInt64, kCpu)};
  Index* first = out.first.data<Index>();
  Index* sorted = out.sorted.data<Index>();
  const Index* row = index.data<Index>();
  for (Index j = 0; j < index.size(); ++j) ++first[row[j] + 1];
  for (Index r = 0; r < rows; ++r) first[r + 1] += first[r];
  for (Index j = 0; j < index.size(); ++j) sorted[first[row[j]]++] = j;
  for (Index r = rows; r > 0; --r) first[r] = first[r - 1];  // sorting moved every start to its end
  first[0] = 0;
  return out;
}

// piece_start[r] is the number of pieces before row r: int64 [R + 1]. Every row has at least one piece.
Tensor cut_into_pieces(const Tensor& first) {
  const Index rows = first.size() - 1;
  Tensor out = zeros({rows + 1}, kInt64, kCpu);
  const Index* start = first.data<Index>();
  Index* pieces = out.data<Index>();
  for (Index r = 0; r < rows; ++r)
    pieces[r + 1] = pieces[r] + std::max<Index>(1, (start[r + 1] - start[r] + kPiece - 1) / kPiece);
  return out;
}

void add_places(const float* x, Index width, const Index* place, Index count, float* sum) {
  SUBQUAD_DISPATCH(AddPlacesFloat)(x, width, place, count, sum);
}
void add_places(const double* x, Index width, const Index* place, Index count, double* sum) {
  SUBQUAD_DISPATCH(AddPlacesDouble)(x, width, place, count, sum);
}

template <class T>
void add_row(const T* from, Index width, T* to) {
  for (Index k = 0; k < width; ++k) to[k] += from[k];
}

// One slab: x [J, K] -> out [R, K]. sums [pieces, K] holds every piece of every row.
template <class T>
void add_slab(const T* x, Index width, const Places& places, const Tensor& piece_start, T* sums, T* out) {
  const Index rows = piece_start.size() - 1;
  const Index* first = places.first.data<Index>();
  const Index* sorted = places.sorted.data<Index>();
  const Index* pieces = piece_start.data<Index>();
  parallel_for(pieces[rows], kPiece * width, [&](Index piece) {
    const Index row = std::upper_bound(pieces, pieces + rows + 1, piece) - pieces - 1;
    const Index begin = first[row] + (piece - pieces[row]) * kPiece, end = std::min(begin + kPiece, first[row + 1]);
    add_places(x, width, sorted + begin, end - begin, sums + piece * width);
  });
  parallel_for(rows, width, [&](Index row) {
    T* to = out + row * width;
    std::copy_n(sums + pieces[row] * width, width, to);
    for (Index piece = pieces[row] + 1; piece < pieces[row + 1]; ++piece) add_row(sums + piece * width, width, to);
  });
}

}  // namespace

void select_rows(const Tensor& x, const Tensor& index, Tensor& out) {
  const Index rows = x.dim(1), count = out.dim(1);
  const Index row_bytes = x.dim(2) * static_cast<Index>(dtype_bytes(x.dtype()));
  if (out.size() == 0) return;
  const std::byte* source = x.bytes();
  std::byte* target = out.bytes();
  const Index* row = index.data<Index>();
  parallel_for(x.dim(0) * count, row_bytes / 8, [&](Index i) {
    const Index a = i / count, j = i % count;
    std::memcpy(target + i * row_bytes, source + (a * rows + row[j]) * row_bytes, static_cast<std::size_t>(row_bytes));
  });
}

void add_rows(const Tensor& x, const Tensor& index, Tensor& out) {
  const Index slabs = out.dim(0), count = x.dim(1), rows = out.dim(1), width = out.dim(2);
  if (out.size() == 0) return;
  const Places places = places_of(index, rows);
  const Tensor piece_start = cut_into_pieces(places.first);
  Tensor sums = empty({piece_start.data<Index>()[rows], width}, x.dtype(), x.device());
  visit_float("add_rows", x.dtype(), [&]<class T>(Type<T>) {
    for (Index a = 0; a < slabs; ++a)
      add_slab(x.data<T>() + a * count * width, width, places, piece_start, sums.data<T>(),
               out.data<T>() + a * rows * width);
  });
}

}  // namespace cpu
}  // namespace subquad::kernels
#endif  // HWY_ONCE
