// A matrix and its temporaries (16 KiB each for M = 64 in float32) stay in the second-level cache through all steps.
// "a I - X Y" is a product added to a multiple of the identity, so that a step is four products.
#include "subquad/kernels/pinv/cpu.h"

#include <algorithm>

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
  Matrix<const T> plain(const T* a) const { return {a, size_}; }
  Matrix<const T> transposed(const T* a) const { return {a, size_, true}; }

  // out = alpha left right
  void product(T alpha, Matrix<const T> left, Matrix<const T> right, T* out) const {
    multiply(alpha, left, right, 0, out);
  }
  // out += alpha left right
  void add_product(T alpha, Matrix<const T> left, Matrix<const T> right, T* out) const {
    multiply(alpha, left, right, 1, out);
  }
  // out = factor I - left right
  void identity_minus(T factor, const T* left, const T* right, T* out) const {
    std::fill_n(out, area(), T(0));
    for (Index i = 0; i < size_; ++i) out[i * (size_ + 1)] = factor;
    add_product(-1, plain(left), plain(right), out);
  }
  // out = factor I - x
  void identity_minus(T factor, const T* x, T* out) const {
    std::transform(x, x + area(), out, [](T value) { return -value; });
    for (Index i = 0; i < size_; ++i) out[i * (size_ + 1)] += factor;
  }

 private:
  void multiply(T alpha, Matrix<const T> left, Matrix<const T> right, T beta, T* out) const {
    const Matrix<T> to{out, size_};
    if (tiled_product_wins(size_, size_, size_, right.transposed))
      tiled_product(size_, size_, size_, alpha, left, right, static_cast<const T*>(nullptr), beta, to);
    else
      gemm(size_, size_, size_, alpha, left, right, beta, to);
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

// X = A Z_t, 7 I - X, 15 I - X (7 I - X), and the last factor of a step.
template <class T>
struct Factors {
  T *x, *seven, *fifteen, *thirteen;  // seven and thirteen may be one matrix

  void compute(const Square<T>& square, const T* a, const T* z) const {
    square.product(1, square.plain(a), square.plain(z), x);
    square.identity_minus(7, x, seven);
    square.identity_minus(15, x, seven, fifteen);
    square.identity_minus(13, x, fifteen, thirteen);
  }
};

// All steps of one matrix; z(t) is where Z_t stands.
template <class T, class Z>
void iterate(const Square<T>& square, const T* a, T coefficient, int iterations, const Z& z) {
  Scratch<T, 3> scratch(square);
  const Factors<T> f{scratch[0], scratch[1], scratch[2], scratch[1]};
  for (Index i = 0; i < square.size(); ++i)
    for (Index j = 0; j < square.size(); ++j) z(0)[i * square.size() + j] = coefficient * a[j * square.size() + i];
  for (int t = 0; t < iterations; ++t) {
    f.compute(square, a, z(t));
    square.product(T(0.25), square.plain(z(t)), square.plain(f.thirteen), z(t + 1));
  }
}

// da of one matrix but for the part through c; the answer is dc. In the order of the lines, with dZ' = dZ_{t+1}:
//
//   H = 1/4 Z^T dZ'      dX = -H (15 I - ..)^T + (X^T H) (7 I - X)^T - X^T (X^T H)
//   dA += dX Z^T         dZ = 1/4 dZ' (13 I - ..)^T + A^T dX
template <class T, class Z>
T iterate_back(const Square<T>& square, const T* dout, const T* a, T coefficient, int iterations, const Z& z, T* da) {
  Scratch<T, 9> scratch(square);
  const Factors<T> f{scratch[0], scratch[1], scratch[2], scratch[3]};
  T *h = scratch[4], *xh = scratch[5], *dx = scratch[6], *dz = scratch[7], *dz_next = scratch[8];
  std::copy_n(dout, square.area(), dz);
  std::fill_n(da, square.area(), T(0));
  for (int t = iterations - 1; t >= 0; --t) {
    std::swap(dz, dz_next);
    f.compute(square, a, z(t));
    square.product(T(0.25), square.transposed(z(t)), square.plain(dz_next), h);
    square.product(1, square.transposed(f.x), square.plain(h), xh);
    square.product(-1, square.plain(h), square.transposed(f.fifteen), dx);
    square.add_product(1, square.plain(xh), square.transposed(f.seven), dx);
    square.add_product(-1, square.transposed(f.x), square.plain(xh), dx);
    square.add_product(1, square.plain(dx), square.transposed(z(t)), da);
    square.product(T(0.25), square.plain(dz_next), square.transposed(f.thirteen), dz);
    square.add_product(1, square.transposed(a), square.plain(dx), dz);
  }
  T dc = 0;
  for (Index i = 0; i < square.size(); ++i)
    for (Index j = 0; j < square.size(); ++j) {  // Z_0 = c A^T
      const T dz_0 = dz[i * square.size() + j];
      da[j * square.size() + i] += coefficient * dz_0;
      dc += dz_0 * a[j * square.size() + i];
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
    const PinvCoefficients<T> coefficients(matrices, a.size() == 0 ? 0 : a.size() / square.area(), square.size(),
                                           options.start);
    for_matrices(a, 4 * options.iterations, [&](Index i, Index first) {
      const auto z = [&](int t) { return t == options.iterations ? out + first : steps + t * a.size() + first; };
      iterate(square, matrices + first, coefficients[i], options.iterations, z);
    });
  });
}

void pinv_grad(const Tensor& dout, const Tensor& a, const Tensor& steps, const PinvOptions& options, Tensor& da) {
  visit_float("pinv_grad", a.dtype(), [&]<class T>(Type<T>) {
    const Square<T> square(a.dim(-1));
    const Index count = a.size() == 0 ? 0 : a.size() / square.area();
    const T *matrices = a.data<T>(), *upstream = dout.data<T>(), *saved = steps.data<T>();
    T* gradients = da.data<T>();
    const PinvCoefficients<T> coefficients(matrices, count, square.size(), options.start);
    std::vector<T> dc(static_cast<std::size_t>(count));
    for_matrices(a, 11 * options.iterations, [&](Index i, Index first) {
      const auto z = [&](int t) { return saved + t * a.size() + first; };
      dc[static_cast<std::size_t>(i)] = iterate_back(square, upstream + first, matrices + first, coefficients[i],
                                                     options.iterations, z, gradients + first);
    });
    if (!options.detach_coefficient) coefficients.add_gradient(dc, matrices, gradients);
  });
}

}  // namespace subquad::kernels::cpu
