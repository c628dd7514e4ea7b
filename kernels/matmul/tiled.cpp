#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/matmul/tiled.cpp"
#include "subquad/kernels/matmul/tiled.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

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

inline constexpr Index kDepth = 256;                          // of a panel
inline constexpr int kRows = HWY_TARGET == HWY_AVX3 ? 8 : 6;  // of a tile: 16 and 12 sums of 32 and 16 registers
inline constexpr Index kFewRows = 64;                         // that do not repay packing a row-major b

// What becomes of a tile's sums: c = alpha sum + bias, or alpha sum + beta c.
template <class T>
struct Finish {
  T alpha, beta;
  const T* bias;
  Matrix<T> c;

  Finish from_row(Index i) const { return {alpha, beta, bias, c.from(i, 0)}; }
  Finish from_column(Index j) const { return {alpha, beta, bias == nullptr ? nullptr : bias + j, c.from(0, j)}; }

  template <class Lanes>
  HWY_INLINE void Write(Lanes lanes, Index row, Index column, hn::Vec<Vector<T>> sum) const {
    const Vector<T> d;
    T* to = c.data + row * c.ld + column;
    auto value = hn::Mul(sum, hn::Set(d, alpha));
    if (bias != nullptr)
      value = hn::Add(value, lanes.Load(bias + column));
    else if (beta != 0)
      value = hn::MulAdd(hn::Set(d, beta), lanes.Load(to), value);
    lanes.Store(value, to);
  }
};

// R rows and V vectors of c, of which `last` says how much of the last one is there.
template <int R, int V, class Lanes, class T>
HWY_INLINE void Tile(Left<T> a, Panel<const T> b, Index depth, Lanes last, const Finish<T>& finish) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = hn::Zero(d);
  for (Index k = 0; k < depth; ++k) {
    hn::Vec<Vector<T>> right[V];
    for (int v = 0; v < V; ++v) right[v] = hn::LoadU(d, b.data + k * b.row + v * kLanes<T>);
    for (int r = 0; r < R; ++r) {
      const auto left = hn::Set(d, a.data[r * a.row + k * a.step]);
      for (int v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v + 1 < V; ++v) finish.Write(WholeVector<Vector<T>>(), r, v * kLanes<T>, sum[r][v]);
    finish.Write(last, r, (V - 1) * kLanes<T>, sum[r][V - 1]);
  }
}

// Asks for R rows of a. The processor does not foresee them: a tile reads all its rows at once. With x and out of a
// linear map in memory (65,536 x 64 x 64) this takes 3.5 ms to 2.1.
template <int R, class T>
HWY_INLINE void PrefetchRows(Left<T> a, Index depth) {
  for (int r = 0; r < R; ++r)
    for (Index k = 0; k < depth; k += kLanes<T>) hwy::Prefetch(a.data + r * a.row + k);
}

// All rows of V vectors of c. `cold`: nobody has read these terms of a yet.
template <int V, class Lanes, class T>
HWY_INLINE void Tiles(Index m, Left<T> a, bool cold, Panel<const T> b, Index depth, Lanes last,
                      const Finish<T>& finish) {
  Index i = 0;
  const auto of_height = [&]<int R>(std::integral_constant<int, R>) HWY_ATTR {
    for (; i + R <= m; i += R) {
      if (cold && a.step == 1 && i + 2 * R <= m) PrefetchRows<R>(a.from_row(i + R), depth);
      Tile<R, V>(a.from_row(i), b, depth, last, finish.from_row(i));
    }
  };
  of_height(std::integral_constant<int, kRows>());
  of_height(std::integral_constant<int, 4>());
  of_height(std::integral_constant<int, 2>());
  of_height(std::integral_constant<int, 1>());
}

// Rows [0, depth) of b's first `width` columns, V vectors in a row. Lanes beyond hold anything.
template <int V, class T>
HWY_INLINE void Pack(Matrix<const T> b, Index depth, Index width, Panel<T> panel) {
  const Vector<T> d;
  for (Index first = 0; first < V * kLanes<T>; first += kLanes<T>) {
    T* to = panel.data + first;
    const auto copy = [&](auto lanes) HWY_ATTR {
      for (Index k = 0; k < depth; ++k) hn::Store(lanes.Load(b.at(k, first)), d, to + k * panel.row);
    };
    if (b.transposed) {
      const T* columns[kLanes<T>];
      for (Index lane = 0; lane < kLanes<T>; ++lane) columns[lane] = b.at(0, std::min(first + lane, width - 1));
      RowsToLanes(d, columns, depth, hn::Set(d, T(1)), to, panel.row);
    } else if (first + kLanes<T> <= width) {
      copy(WholeVector<Vector<T>>());
    } else {
      copy(PartVector<Vector<T>>{hn::FirstN(d, static_cast<std::size_t>(width - first))});
    }
  }
}

// `width` columns of c, which V vectors just hold.
template <int V, class T>
HWY_INLINE void Columns(Index m, Index width, Index depth, Left<T> a, bool cold, Matrix<const T> b, T* memory,
                        const Finish<T>& finish) {
  const bool whole = width == V * kLanes<T>;
  Panel<const T> panel{b.data, b.ld};
  if (!whole || b.transposed || m > kFewRows) {
    panel = {memory, V * kLanes<T>};
    Pack<V>(b, depth, width, Panel<T>{memory, V * kLanes<T>});
  }
  if (whole) return Tiles<V>(m, a, cold, panel, depth, WholeVector<Vector<T>>(), finish);
  const auto there = hn::FirstN(Vector<T>(), static_cast<std::size_t>(width - (V - 1) * kLanes<T>));
  Tiles<V>(m, a, cold, panel, depth, PartVector<Vector<T>>{there}, finish);
}

template <class T>
void Run(Index m, Index n, Index k, Matrix<const T> a, Matrix<const T> b, Finish<T> finish) {
  HWY_ALIGN T memory[kDepth * 2 * kLanes<T>];
  const Left<T> left{a.data, a.transposed ? 1 : a.ld, a.transposed ? a.ld : 1};
  for (Index p = 0; p < k; p += kDepth) {
    const Index depth = std::min(kDepth, k - p);
    const Left<T> terms{left.data + p * left.step, left.row, left.step};
    for (Index j = 0; j < n; j += 2 * kLanes<T>) {
      const Index width = std::min(2 * kLanes<T>, n - j);
      if (width > kLanes<T>)
        Columns<2>(m, width, depth, terms, j == 0, b.from(p, j), memory, finish.from_column(j));
      else
        Columns<1>(m, width, depth, terms, j == 0, b.from(p, j), memory, finish.from_column(j));
    }
    finish.beta = 1;  // further terms are added
    finish.bias = nullptr;
  }
}

}  // namespace

void TiledFloat(Index m, Index n, Index k, float alpha, Matrix<const float> a, Matrix<const float> b, const float* bias,
                float beta, Matrix<float> c) {
  Run<float>(m, n, k, a, b, {alpha, beta, bias, c});
}
void TiledDouble(Index m, Index n, Index k, double alpha, Matrix<const double> a, Matrix<const double> b,
                 const double* bias, double beta, Matrix<double> c) {
  Run<double>(m, n, k, a, b, {alpha, beta, bias, c});
}

bool TiledWins(Index m, Index n, Index k, bool b_transposed) {
  constexpr Index kSkinny = 512;
  return HWY_TARGET != HWY_SCALAR && m >= (b_transposed ? 32 : 4) && n >= 16 && k >= 8 && std::min(k, n) <= kSkinny;
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace subquad::kernels {
HWY_EXPORT(TiledFloat);
HWY_EXPORT(TiledDouble);
HWY_EXPORT(TiledWins);

void cpu::tiled_product(Index m, Index n, Index k, float alpha, Matrix<const float> a, Matrix<const float> b,
                        const float* bias, float beta, Matrix<float> c) {
  SUBQUAD_DISPATCH(TiledFloat)(m, n, k, alpha, a, b, bias, beta, c);
}
void cpu::tiled_product(Index m, Index n, Index k, double alpha, Matrix<const double> a, Matrix<const double> b,
                        const double* bias, double beta, Matrix<double> c) {
  SUBQUAD_DISPATCH(TiledDouble)(m, n, k, alpha, a, b, bias, beta, c);
}

bool cpu::tiled_product_wins(Index m, Index n, Index k, bool b_transposed) {
  return SUBQUAD_DISPATCH(TiledWins)(m, n, k, b_transposed);
}

}  // namespace subquad::kernels
#endif  // HWY_ONCE
