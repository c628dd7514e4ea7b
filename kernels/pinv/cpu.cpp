// A matrix and what its steps make of it (16 KiB each for M = 64 in float32) stay in the second-level cache through a
// step. "a I - X Y" is a product with -X whose diagonal is added to, so that a step is four products and no more
// passes; backward has all gradients transposed, so that no product has a transposed factor, which would have to be
// packed.
#include "subquad/kernels/pinv/cpu.h"

#include <algorithm>
#include <optional>

#include "subquad/core/parallel.h"
#include "subquad/kernels/blas/blas.h"
#include "subquad/kernels/matmul/tiled.h"
#include "subquad/kernels/pinv/coefficient.h"

namespace subquad::kernels::cpu {
namespace {

// Products of matrices [M, M] that lie without gaps.
template <class T>
class Square {
 public:
  explicit Square(Index size) : size_(size) {}

  Index size() const { return size_; }
  Index area() const { return size_ * size_; }

  // out = alpha left right
  void product(T alpha, const T* left, const T* right, T* out) const { multiply(alpha, left, right, 0, out); }
  // out += alpha left right
  void add_product(T alpha, const T* left, const T* right, T* out) const { multiply(alpha, left, right, 1, out); }
  // out += factor I
  void add_identity(T factor, T* out) const {
    for (Index i = 0; i < size_; ++i) out[i * (size_ + 1)] += factor;
  }
  // out[j][i] = factor x[i][j]
  void transpose(T factor, const T* x, T* out) const {
    for (Index i = 0; i < size_; ++i)
      for (Index j = 0; j < size_; ++j) out[i * size_ + j] = factor * x[j * size_ + i];
  }

 private:
  void multiply(T alpha, const T* left, const T* right, T beta, T* out) const {
    const Matrix<const T> a{left, size_}, b{right, size_};
    const Matrix<T> to{out, size_};
    if (tiled_product_wins(size_, size_, size_, false))
      tiled_product(size_, size_, size_, alpha, a, b, static_cast<const T*>(nullptr), beta, to);
    else
      gemm(size_, size_, size_, alpha, a, b, beta, to);
  }

  Index size_;
};

// Matrices of one thread.
template <class T, int kCount>
class Scratch {
 public:
  explicit Scratch(const Square<T>& square)
      : area_(square.area()), memory_(empty({kCount, area_}, dtype_of<T>(), kCpu)) {}
  T* operator[](Index i) { return memory_.data<T>() + i * area_; }

 private:
  Index area_;
  Tensor memory_;
};

// What a step makes of Z_t, as PinvOutput::factors has it: -X = -A Z_t, 15 I - X (7 I - X), and the last factor. T may
// be const.
template <class T>
struct Factors {
  T *minus_x, *fifteen, *thirteen;

  Factors(T* factors, Index of_all, int t, Index first)
      : minus_x(factors + 3 * t * of_all + first), fifteen(minus_x + of_all), thirteen(fifteen + of_all) {}
};

// out = 7 I - X
template <class T>
void put_seven(const Square<T>& square, const T* minus_x, T* out) {
  std::copy_n(minus_x, square.area(), out);
  square.add_identity(7, out);
}

template <class T>
void put_factors(const Square<T>& square, const T* a, const T* z, T* seven, const Factors<T>& f) {
  square.product(-1, a, z, f.minus_x);
  put_seven<T>(square, f.minus_x, seven);
  square.product(1, f.minus_x, seven, f.fifteen);
  square.add_identity(15, f.fifteen);
  square.product(1, f.minus_x, f.fifteen, f.thirteen);
  square.add_identity(13, f.thirteen);
}

// All steps of one matrix; z(t) is where Z_t stands, factors(t) where its factors do.
template <class T, class Z, class F>
void iterate(const Square<T>& square, const T* a, T coefficient, int iterations, const Z& z, const F& factors) {
  Scratch<T, 1> scratch(square);
  square.transpose(coefficient, a, z(0));
  for (int t = 0; t < iterations; ++t) {
    const Factors<T> f = factors(t);
    put_factors<T>(square, a, z(t), scratch[0], f);
    square.product(T(0.25), z(t), f.thirteen, z(t + 1));
  }
}

// da of one matrix but for the part through c; the answer is dc. In the order of the lines, with dZ' = dZ_{t+1} and all
// gradients transposed:
//
//   H = 1/4 dZ' Z      P = -H X      dX = -(15 I - ..) H - (7 I - X) P + P X
//   dA += Z dX         dZ = 1/4 (13 I - ..) dZ' + dX A
template <class T, class Z, class F>
T iterate_back(const Square<T>& square, const T* dout, const T* a, T coefficient, int iterations, const Z& z,
               const F& factors, T* da) {
  Scratch<T, 7> scratch(square);
  T *seven = scratch[0], *h = scratch[1], *p = scratch[2], *dx = scratch[3], *dz = scratch[4], *dz_next = scratch[5];
  T* da_turned = scratch[6];
  square.transpose(1, dout, dz);
  std::fill_n(da_turned, square.area(), T(0));
  for (int t = iterations - 1; t >= 0; --t) {
    std::swap(dz, dz_next);
    const Factors<const T> f = factors(t);
    put_seven(square, f.minus_x, seven);
    square.product(T(0.25), dz_next, z(t), h);
    square.product(1, h, f.minus_x, p);
    square.product(-1, f.fifteen, h, dx);
    square.add_product(-1, seven, p, dx);
    square.add_product(-1, p, f.minus_x, dx);
    square.add_product(1, z(t), dx, da_turned);
    square.product(T(0.25), f.thirteen, dz_next, dz);
    square.add_product(1, dx, a, dz);
  }
  square.transpose(1, da_turned, da);
  T dc = 0;
  for (Index e = 0; e < square.area(); ++e) {  // Z_0 = c A^T
    da[e] += coefficient * dz[e];
    dc += dz[e] * a[e];
  }
  return dc;
}

// f(matrix number, its first element) for all of them; `products` of matrices each.
template <class F>
void for_matrices(const Tensor& a, Index products, const F& f) {
  const Index size = a.dim(-1), area = size * size;
  constexpr Index kFlopsPerOperation = 32;  // of a product against the scalar operations that parallel_for counts
  if (a.size() == 0) return;
  parallel_for(a.size() / area, products * 2 * area * size / kFlopsPerOperation, [&](Index i) { f(i, i * area); });
}

}  // namespace

void pinv(const Tensor& a, const PinvOptions& options, PinvOutput& result) {
  visit_float("pinv", a.dtype(), [&]<class T>(Type<T>) {
    const Square<T> square(a.dim(-1));
    const T* matrices = a.data<T>();
    T *out = result.out.data<T>(), *steps = result.steps.data<T>();
    T* const kept = result.factors.defined() ? result.factors.data<T>() : nullptr;
    const PinvCoefficients<T> coefficients(matrices, a.size() == 0 ? 0 : a.size() / square.area(), square.size(),
                                           options.start);
    for_matrices(a, 4 * options.iterations, [&](Index i, Index first) {
      const auto z = [&](int t) { return t == options.iterations ? out + first : steps + t * a.size() + first; };
      std::optional<Scratch<T, 3>> own;
      if (!kept) own.emplace(square);
      const auto factors = [&](int t) {
        return kept ? Factors<T>(kept, a.size(), t, first) : Factors<T>((*own)[0], square.area(), 0, 0);
      };
      iterate(square, matrices + first, coefficients[i], options.iterations, z, factors);
    });
  });
}

void pinv_grad(const Tensor& dout, const Tensor& a, const PinvOutput& forward, const PinvOptions& options, Tensor& da) {
  visit_float("pinv_grad", a.dtype(), [&]<class T>(Type<T>) {
    const Square<T> square(a.dim(-1));
    const Index count = a.size() == 0 ? 0 : a.size() / square.area();
    const T *matrices = a.data<T>(), *upstream = dout.data<T>(), *steps = forward.steps.data<T>();
    const T* kept = forward.factors.data<T>();
    T* gradients = da.data<T>();
    const PinvCoefficients<T> coefficients(matrices, count, square.size(), options.start);
    std::vector<T> dc(static_cast<std::size_t>(count));
    for_matrices(a, 8 * options.iterations, [&](Index i, Index first) {
      const auto z = [&](int t) { return steps + t * a.size() + first; };
      const auto factors = [&](int t) { return Factors<const T>(kept, a.size(), t, first); };
      dc[static_cast<std::size_t>(i)] = iterate_back(square, upstream + first, matrices + first, coefficients[i],
                                                     options.iterations, z, factors, gradients + first);
    });
    if (!options.detach_coefficient) coefficients.add_gradient(dc, matrices, gradients);
  });
}

}  // namespace subquad::kernels::cpu
