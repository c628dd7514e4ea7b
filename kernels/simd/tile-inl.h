// The register-tiled small product that attention and other skinny kernels are made of. Include inside the per-target
// part of a kernel (after targets.h and hwy/highway.h); the functions live in subquad::kernels::HWY_NAMESPACE.
#if defined(SUBQUAD_KERNELS_SIMD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUBQUAD_KERNELS_SIMD_TILE_INL_H_
#undef SUBQUAD_KERNELS_SIMD_TILE_INL_H_
#else
#define SUBQUAD_KERNELS_SIMD_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include "subquad/core/shape.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The left factor of a product: element (r, k) stands at data[r * row + k * step], so that a matrix and its transpose
// are read in place.
template <class T>
struct Left {
  const T* data;
  Index row;
  Index step;

  Left from_row(Index r) const { return {data + r * row, row, step}; }
};

// Rows of whole vectors, `row` elements apart.
template <class T>
struct Panel {
  T* data;
  Index row;

  Panel from_row(Index r) const { return {data + r * row, row}; }
};

// How many rows of the result stay in registers beside two vectors of a row: 16 accumulators of AVX-512's 32 registers,
// 8 of AVX2's 16.
inline constexpr int kTileRows = HWY_TARGET == HWY_AVX3 ? 8 : 4;

// c[r][0, V * Lanes) (+)= sum_k a(r, k) b[k][0, V * Lanes) for R rows held in R * V registers. Each element is one
// chain of multiply-adds in the order of k, started from c or 0, so how a product is cut into tiles does not change its
// bits.
template <int R, int V, bool kAdd, class D, class T = hn::TFromD<D>>
HWY_INLINE void ProductTile(D d, Left<T> a, Panel<const T> b, Index depth, Panel<T> c) {
  constexpr Index kLanes = hn::MaxLanes(d);
  hn::Vec<D> sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = kAdd ? hn::Load(d, c.data + r * c.row + v * kLanes) : hn::Zero(d);
  for (Index k = 0; k < depth; ++k) {
    hn::Vec<D> right[V];
    for (int v = 0; v < V; ++v) right[v] = hn::Load(d, b.data + k * b.row + v * kLanes);
    for (int r = 0; r < R; ++r) {
      const auto left = hn::Set(d, a.data[r * a.row + k * a.step]);
      for (int v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) hn::Store(sum[r][v], d, c.data + r * c.row + v * kLanes);
}

// The same for any number of rows.
template <int V, bool kAdd, class D, class T = hn::TFromD<D>>
HWY_INLINE void Product(D d, Index rows, Left<T> a, Panel<const T> b, Index depth, Panel<T> c) {
  Index r = 0;
  for (; r + kTileRows <= rows; r += kTileRows)
    ProductTile<kTileRows, V, kAdd>(d, a.from_row(r), b, depth, c.from_row(r));
  const Index rest = rows - r;
  if (kTileRows > 4 && (rest & 4) != 0) ProductTile<4, V, kAdd>(d, a.from_row(r), b, depth, c.from_row(r));
  r += rest & 4;
  if ((rest & 2) != 0) ProductTile<2, V, kAdd>(d, a.from_row(r), b, depth, c.from_row(r));
  r += rest & 2;
  if ((rest & 1) != 0) ProductTile<1, V, kAdd>(d, a.from_row(r), b, depth, c.from_row(r));
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
