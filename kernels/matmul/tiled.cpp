#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/matmul/tiled.cpp"
#include "subquad/kernels/matmul/tiled.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "subquad/core/tensor.h"
#include "subquad/kernels/matmul/pack-inl.h"
#include "subquad/kernels/simd/row-inl.h"
#include "subquad/kernels/simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace {

inline constexpr Index kDepth = 256;   // terms of a panel of b that stays in L1
inline constexpr Index kFewRows = 64;  // that do not repay packing a row-major b

// What becomes of a tile's sums: c = alpha sum + bias, or alpha sum + beta c.
template <class T>
struct Finish {
  T alpha, beta;
  const T* bias;
  Matrix<T> c;

  void add_to_c() {  // for the terms after the first ones
    beta = 1;
    bias = nullptr;
  }
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

  // Asks for a tile of R rows, to be there when its sums are.
  template <int R>
  HWY_INLINE void Prefetch() const {
    for (int r = 0; r < R; ++r)
      for (Index column = 0; column < kPanel<T>; column += kLine<T>) __builtin_prefetch(c.at(r, column), 1, 2);
  }
};

// What will be read soon, asked for bit by bit, one for each term of a tile: all of it at once would wait for itself.
template <class T>
struct Ahead {
  const T* from;
  Index step;
  HWY_INLINE void operator()(Index k) const { hwy::Prefetch(from + k * step); }
};

// R rows and V vectors of c, of which `last` says how much of the last one is there.
template <int R, int V, class Lanes, class Rows, class T, class... Aheads>
HWY_INLINE void Tile(Rows a, Panel<const T> b, Index depth, Lanes last, const Finish<T>& finish, Aheads... ahead) {
  const Vector<T> d;
  hn::Vec<Vector<T>> sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = hn::Zero(d);
  for (Index k = 0; k < depth; ++k) {
    (ahead(k), ...);
    hn::Vec<Vector<T>> right[V];
    for (int v = 0; v < V; ++v) right[v] = hn::LoadU(d, b.data + k * b.row + v * kLanes<T>);
    for (int r = 0; r < R; ++r) {
      const auto left = hn::Set(d, a.data[r * a.row + k * a.step]);
      for (int v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v + 1 < V; ++v) finish.Write(WholeVector<Vector<T>>(), r, v * kLanes<T>, sum[r][v]);
    finish.Write(last, r, (V - 1) * kLanes<T>, sum[r][V - 1]);
  }
}

template <int kValue>
using Count = std::integral_constant<int, kValue>;

// f(R, i) for tiles of R rows from row i on: as high as can be, at most kHighest.
template <int kHighest, class F>
HWY_INLINE void ForHeights(Index m, const F& f) {
  Index i = 0;
  const auto of_height = [&]<int R>(Count<R> height) HWY_ATTR {
    for (; i + R <= m; i += R) f(height, i);
  };
  of_height(Count<kHighest>());
  if constexpr (kHighest > 8) of_height(Count<8>());
  of_height(Count<4>());
  of_height(Count<2>());
  of_height(Count<1>());
}

// f(V, last) for the vectors that hold `width` columns, two at most.
template <class T, class F>
HWY_INLINE void ForVectorsOf(Index width, const F& f) {
  const PartVector<Vector<T>> part{hn::FirstN(Vector<T>(), static_cast<std::size_t>((width - 1) % kLanes<T> + 1))};
  if (width >= 2 * kLanes<T>)
    f(Count<2>(), WholeVector<Vector<T>>());
  else if (width > kLanes<T>)
    f(Count<2>(), part);
  else if (width == kLanes<T>)
    f(Count<1>(), WholeVector<Vector<T>>());
  else
    f(Count<1>(), part);
}

// Asks for R rows of a. The processor does not foresee them: a tile reads all its rows at once. With x and out of a
// linear map in memory (65,536 x 64 x 64) this takes 3.5 ms to 2.1.
template <int R, class T>
HWY_INLINE void PrefetchRows(Left<T> a, Index depth) {
  for (int r = 0; r < R; ++r)
    for (Index k = 0; k < depth; k += kLanes<T>) hwy::Prefetch(a.data + r * a.row + k);
}

// c (+)= a b for the terms of one panel, a read where it lies. `far`: as many terms follow, and they are in no near
// cache. Where terms are rows of both factors, as in a weight's gradient, each tile asks for its share of those: the
// processor does not foresee columns of rows. 64 x 64 x 65,536 goes from 0.48 to 0.89 of the FMA peak that way.
template <class T>
void LeftInPlace(Index m, Index n, Index depth, Left<T> a, Matrix<const T> b, bool far, const Finish<T>& finish) {
  constexpr int kRows = HWY_TARGET == HWY_AVX3 ? 8 : 6;
  HWY_ALIGN T memory[kDepth * kPanel<T>];
  const bool by_terms = far && a.row == 1 && !b.transposed;
  for (Index j = 0; j < n; j += kPanel<T>) {
    const Index width = std::min(kPanel<T>, n - j);
    Panel<const T> panel{b.at(0, j), b.ld};
    if (width < kPanel<T> || b.transposed || m > kFewRows) {
      PackRight(b.from(0, j), depth, width, memory);
      panel = {memory, kPanel<T>};
    }
    ForVectorsOf<T>(width, [&]<int V>(Count<V>, auto last) HWY_ATTR {
      ForHeights<kRows>(m, [&]<int R>(Count<R>, Index i) HWY_ATTR {
        if (j == 0 && a.step == 1 && i + 2 * R <= m) PrefetchRows<R>(a.from_row(i + R), depth);
        const Finish<T> tile = finish.from_row(i).from_column(j);
        if (!by_terms) return Tile<R, V>(a.from_row(i), panel, depth, last, tile);
        const auto share = [&](const T* terms, Index row) {
          return Ahead<T>{terms + (depth + (j * m + i * width) * depth / (m * n)) * row, R * width * row / (m * n)};
        };
        Tile<R, V>(a.from_row(i), panel, depth, last, tile, share(a.data, a.step), share(b.data, b.ld));
      });
    });
  }
}

// c (+)= a b for a block of each as PackLeft and PackRight leave it. Each tile asks for what L2 has of b some terms
// before it is multiplied, and for its share of the next rows of a, which L3 has: 2 to 3 % faster at 1024 x 1024 x
// 1024.
template <class T>
void Block(Index m, Index n, Index depth, const T* a, const T* b, const Finish<T>& finish) {
  constexpr Index kSoon = 12;  // terms
  ForHeights<kHeight>(m, [&]<int R>(Count<R>, Index i) HWY_ATTR {
    const Index inside = i % kHeight;
    const PackedRows<T> rows{a + (i - inside) * depth + inside};
    const T* next_rows = a + (i - inside + kHeight) * depth;
    for (Index j = 0; j < n; j += kPanel<T>) {
      const Finish<T> tile = finish.from_row(i).from_column(j);
      tile.template Prefetch<R>();
      const Panel<const T> panel{b + j * depth, kPanel<T>};
      const T* soon = panel.data + kSoon * kPanel<T>;
      ForVectorsOf<T>(n - j, [&]<int V>(Count<V>, auto last) HWY_ATTR {
        Tile<R, V>(rows, panel, depth, last, tile, Ahead<T>{soon, kPanel<T>}, Ahead<T>{soon + kLanes<T>, kPanel<T>},
                   Ahead<T>{next_rows + j * kHeight * depth / n, kPanel<T> * kHeight / n});
      });
    }
  });
}

// [0, extent) in equal steps of at most `most`, multiples of `unit`.
Index EqualSteps(Index extent, Index most, Index unit) {
  const Index steps = (extent + most - 1) / most;
  return ((extent + steps - 1) / steps + unit - 1) / unit * unit;
}

template <class T>
void BothPacked(Index m, Index n, Index k, Left<T> a, Matrix<const T> b, Finish<T> finish) {
  const Index height = EqualSteps(m, kBlockRows, kHeight), depth = EqualSteps(k, kBlockDepth, 1);
  const Index left_size = (height * depth / kLanes<T> + 2) * kLanes<T>;
  Tensor memory = empty({left_size + kBlockColumns<T> * depth}, dtype_of<T>(), kCpu);
  T *left = memory.data<T>(), *right = left + left_size;
  for (Index p = 0; p < k; p += depth) {
    const Index terms = std::min(depth, k - p);
    for (Index i = 0; i < m; i += height) {
      const Index rows = std::min(height, m - i);
      PackLeft(Left<T>{a.data + i * a.row + p * a.step, a.row, a.step}, rows, terms, left);
      for (Index j = 0; j < n; j += kBlockColumns<T>) {
        const Index columns = std::min(kBlockColumns<T>, n - j);
        PackRight(b.from(p, j), terms, columns, right);
        Block<T>(rows, columns, terms, left, right, finish.from_row(i).from_column(j));
      }
    }
    finish.add_to_c();
  }
}

template <class T>
void Run(Index m, Index n, Index k, Matrix<const T> a, Matrix<const T> b, Finish<T> finish) {
  const Left<T> left{a.data, a.transposed ? 1 : a.ld, a.transposed ? a.ld : 1};
  if (m > kFewRows && cpu::is_large_product(n, k)) return BothPacked(m, n, k, left, b, finish);
  constexpr Index kNear = Index{1} << 20;  // bytes; asking for what is there already costs 3 %
  const bool far = k * (m + n) * static_cast<Index>(sizeof(T)) > kNear;
  for (Index p = 0; p < k; p += kDepth) {
    const Left<T> terms{left.data + p * left.step, left.row, left.step};
    LeftInPlace(m, n, std::min(kDepth, k - p), terms, b.from(p, 0), far && p + 2 * kDepth <= k, finish);
    finish.add_to_c();
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
  return HWY_TARGET != HWY_SCALAR && m >= (b_transposed ? 16 : 4) && n >= 16 && k >= 8;
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
