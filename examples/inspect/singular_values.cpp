#include "subquad/examples/inspect/singular_values.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "subquad/core/check.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/blas/blas.h"

namespace subquad::inspect {

namespace {

constexpr const char* kOp = "singular_values";

// LAPACK's integers are of 32 bits in most builds, of 64 in some; it gets addresses of the latter, which read as the
// same numbers in both on a little-endian machine.
using LapackInt = std::int64_t;
template <class T>
using Gesdd = void(const char* job, const LapackInt* m, const LapackInt* n, T* a, const LapackInt* lda, T* s, T* u,
                   const LapackInt* ldu, T* vt, const LapackInt* ldvt, T* work, const LapackInt* lwork,
                   LapackInt* iwork, LapackInt* info, std::size_t job_length);

template <class T>
Gesdd<T>* gesdd() {  // nullptr where there is none
  static Gesdd<T>* const found = []() -> Gesdd<T>* {
    try {
      return reinterpret_cast<Gesdd<T>*>(kernels::blas_symbol(std::is_same_v<T, float> ? "sgesdd_" : "dgesdd_"));
    } catch (const Error&) {
      return nullptr;
    }
  }();
  return found;
}

// Of a [n, n], which is overwritten; s [n].
template <class T>
void by_lapack(T* a, LapackInt n, double* s) {
  const LapackInt one = 1, ask = -1;
  std::vector<LapackInt> integers(static_cast<std::size_t>(8 * n));
  std::vector<T> work(1), values(static_cast<std::size_t>(n));
  LapackInt info = 0;
  const auto run = [&](const LapackInt& room) {
    gesdd<T>()("N", &n, &n, a, &n, values.data(), nullptr, &one, nullptr, &one, work.data(), &room, integers.data(),
               &info, 1);
  };
  run(ask);
  const auto room = static_cast<LapackInt>(work[0]);
  work.resize(static_cast<std::size_t>(room));
  run(room);
  if (info != 0) throw Error(cat(kOp, ": LAPACK found no result for a matrix of ", n, " rows (info ", info, ")"));
  std::copy(values.begin(), values.end(), s);
}

// Householder's reflection 1 - factor v v^T that takes x to (beta, 0, ..., 0): x becomes v, v_1 = 1.
struct Reflection {
  double beta = 0, factor = 0;
};
Reflection reflect(std::vector<double>& x) {
  double tail = 0;
  for (std::size_t i = 1; i < x.size(); ++i) tail += x[i] * x[i];
  if (tail == 0) {
    const double beta = x[0];
    x[0] = 1;
    return {beta, 0};
  }
  const double norm = std::sqrt(x[0] * x[0] + tail), beta = x[0] > 0 ? -norm : norm, first = x[0] - beta;
  for (std::size_t i = 1; i < x.size(); ++i) x[i] /= first;
  const Reflection result{beta, -first / beta};
  x[0] = 1;
  return result;
}

// The bidiagonal matrix that a [n, n] becomes by reflections from both sides: d_1, e_1, d_2, e_2, ..., d_n.
std::vector<double> bidiagonal(double* a, Index n) {
  std::vector<double> elements, v, sums;
  for (Index k = 0; k < n; ++k) {
    v.clear();
    for (Index i = k; i < n; ++i) v.push_back(a[i * n + k]);
    const Reflection left = reflect(v);
    elements.push_back(left.beta);
    if (k + 1 == n) break;
    const Index rest = n - k - 1;
    sums.assign(static_cast<std::size_t>(rest), 0.0);
    for (Index i = k; i < n; ++i)
      for (Index j = 0; j < rest; ++j)
        sums[static_cast<std::size_t>(j)] += v[static_cast<std::size_t>(i - k)] * a[i * n + k + 1 + j];
    for (Index i = k; i < n; ++i)
      for (Index j = 0; j < rest; ++j)
        a[i * n + k + 1 + j] -= left.factor * v[static_cast<std::size_t>(i - k)] * sums[static_cast<std::size_t>(j)];
    v.assign(a + k * n + k + 1, a + (k + 1) * n);
    const Reflection right = reflect(v);
    elements.push_back(right.beta);
    for (Index i = k + 1; i < n; ++i) {
      double* row = a + i * n + k + 1;
      double sum = 0;
      for (Index j = 0; j < rest; ++j) sum += row[j] * v[static_cast<std::size_t>(j)];
      for (Index j = 0; j < rest; ++j) row[j] -= right.factor * sum * v[static_cast<std::size_t>(j)];
    }
  }
  return elements;
}

// How many singular values of a bidiagonal matrix lie below x > 0. Those and their negatives are the eigenvalues of the
// tridiagonal matrix with a diagonal of 0 beside which its elements stand in turn; Sturm's sequence counts them.
Index count_below(const std::vector<double>& elements, double x) {
  constexpr double kTiny = std::numeric_limits<double>::min();
  Index negative = 1;
  double pivot = -x;
  for (const double e : elements) {
    pivot = -x - e * e / pivot;
    if (std::abs(pivot) < kTiny) pivot = -kTiny;
    negative += pivot < 0;
  }
  return negative - static_cast<Index>(elements.size() + 1) / 2;
}

void by_bisection(double* a, Index n, double* s) {
  const std::vector<double> elements = bidiagonal(a, n);
  double bound = 0, before = 0;
  for (const double e : elements) {
    bound = std::max(bound, before + std::abs(e));
    before = std::abs(e);
  }
  parallel_for(n, 200 * n, [&](Index k) {  // the one with k below it
    double low = 0, high = bound;
    while (high - low > 1e-16 * bound) {
      const double middle = (low + high) / 2;
      if (middle <= low || middle >= high) break;
      (count_below(elements, middle) > k ? high : low) = middle;
    }
    s[n - 1 - k] = (low + high) / 2;
  });
}

template <class T>
void check_finite(const Tensor& matrices) {  // [M, N, N]
  const T* x = matrices.data<T>();
  const Index n = matrices.dim(2);
  for (Index at = 0; at < matrices.size(); ++at)
    if (!std::isfinite(x[at]))
      throw Error(cat(kOp, ": matrix ", at / n / n, " holds ", x[at], " at [", at / n % n, ", ", at % n,
                      "], expected finite numbers"));
}

// Of matrices [M, N, N], which are overwritten.
template <class T>
void compute(Tensor& matrices, bool by_hand, Tensor& values) {
  check_finite<T>(matrices);
  const Index n = matrices.dim(2);
  parallel_for(matrices.dim(0), n * n * n, [&](Index m) {
    T* a = matrices.data<T>() + m * n * n;
    double* s = values.data<double>() + m * n;
    if constexpr (std::is_same_v<T, double>) {
      if (by_hand) return by_bisection(a, n, s);
    }
    by_lapack(a, n, s);
  });
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// R [E, E] of A = Q R, A [N, E]. A column that depends on those before it gets a row of zeros in R.
Tensor triangle(const Tensor& matrix) {
  constexpr double kDependent = 1e-13;  // of a column's length: what is left of it by rounding alone
  Tensor columns = matrix.to(kCpu).to(kFloat64).transpose(0, 1).contiguous().clone();  // [E, N], which become Q
  const Index width = columns.dim(0);
  const auto length = static_cast<std::size_t>(columns.dim(1));
  Tensor triangle = zeros({width, width}, kFloat64, kCpu);
  const auto r = triangle.view<double, 2>();
  const auto column = [&](Index j) {
    return std::span(columns.data<double>() + j * static_cast<Index>(length), length);
  };
  for (Index j = 0; j < width; ++j) {
    const double before = std::sqrt(dot(column(j), column(j)));
    for (int pass = 0; pass < 2; ++pass)
      for (Index i = 0; i < j; ++i) {
        const double share = dot(column(i), column(j));
        r(i, j) += share;
        for (std::size_t k = 0; k < length; ++k) column(j)[k] -= share * column(i)[k];
      }
    const double rest = std::sqrt(dot(column(j), column(j)));
    r(j, j) = rest > kDependent * before ? rest : 0;
    for (double& x : column(j)) x = r(j, j) > 0 ? x / rest : 0;
  }
  return triangle;
}

}  // namespace

std::vector<double> product_singular_values(const Tensor& a, const Tensor& b) {
  constexpr const char* kProduct = "product_singular_values";
  check_rank(kProduct, "a", a, 2);
  check_shape(kProduct, "b", b, a.shape());
  const Tensor left = triangle(a), right = triangle(b);
  const Index width = a.dim(1);
  Tensor both = zeros({width, width}, kFloat64, kCpu);
  const auto l = left.view<const double, 2>(), r = right.view<const double, 2>();
  for (Index i = 0; i < width; ++i)
    for (Index j = 0; j < width; ++j)
      for (Index k = std::max(i, j); k < width; ++k) both.view<double, 2>()(i, j) += l(i, k) * r(j, k);
  const Tensor values = singular_values(both);
  const auto all = values.span<double>().first(static_cast<std::size_t>(std::min(a.dim(0), width)));
  return {all.begin(), all.end()};
}

Tensor singular_values(const Tensor& matrices, SvdMethod method) {
  const int rank = matrices.rank();
  if (rank < 2 || matrices.dim(rank - 1) != matrices.dim(rank - 2))
    throw ShapeError(cat(kOp, ": matrices is ", describe(matrices), ", expected square ones, [..., N, N]"));
  const bool lapack = gesdd<float>() != nullptr && gesdd<double>() != nullptr;
  if (method == SvdMethod::lapack && !lapack)
    throw Error(cat(kOp, ": the OpenBLAS that was opened has no LAPACK, expected sgesdd_ and dgesdd_"));
  const Index n = matrices.shape().back(), count = n == 0 ? 0 : matrices.size() / n / n;
  Tensor values = empty(matrices.shape().without(rank - 1), kFloat64, kCpu);
  Tensor copy = matrices.to(kCpu).contiguous().clone().reshape({count, n, n});
  if (method == SvdMethod::own || !lapack) {
    copy = copy.to(kFloat64);
    compute<double>(copy, true, values);
  } else if (copy.dtype() == kFloat64) {
    compute<double>(copy, false, values);
  } else {
    compute<float>(copy, false, values);
  }
  return values;
}

double effective_rank(std::span<const double> singular_values) {
  double sum = 0, entropy = 0;
  for (const double s : singular_values) sum += s;
  if (sum == 0) return 0;
  for (const double s : singular_values)
    if (s > 0) entropy -= s / sum * std::log(s / sum);
  return std::exp(entropy);
}

Index numerical_rank(std::span<const double> singular_values, double tolerance) {
  if (singular_values.empty()) return 0;
  if (tolerance == 0) tolerance = static_cast<double>(singular_values.size()) * std::numeric_limits<float>::epsilon();
  const double bar = tolerance * singular_values.front();
  return std::count_if(singular_values.begin(), singular_values.end(), [&](double s) { return s > bar; });
}

}  // namespace subquad::inspect
