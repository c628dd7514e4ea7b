// A new primitive, from its contract to a checked gradient: a gated recurrence, the core of state-space layers.
//
//   y[b, i] = sum_{j <= i} a[b, j + 1] a[b, j + 2] ... a[b, i] x[b, j]
//           = a[b, i] y[b, i - 1] + x[b, i],  y[b, -1] = 0
//   dx[b, i] = dy[b, i] + a[b, i + 1] dx[b, i + 1]      da[b, i] = dx[b, i] y[b, i - 1]
//
//   a, x, y and their gradients [B, N], float64, contiguous. Work: 2 B N flops, 3 B N backward. One thread per sample.
#include <cmath>
#include <iostream>

#include "subquad/autograd/gradcheck.h"
#include "subquad/autograd/record.h"
#include "subquad/core/check.h"
#include "subquad/core/parallel.h"
#include "subquad/core/rng.h"

using namespace subquad;

// 1. The slow loop: the sum of the contract, word for word.
double slow(const double* a, const double* x, Index i) {
  double sum = 0;
  for (Index j = 0; j <= i; ++j) {
    double product = x[j];
    for (Index k = j + 1; k <= i; ++k) product *= a[k];
    sum += product;
  }
  return sum;
}

// 2. The value of one sample, by the recurrence.
void forward(const double* a, const double* x, double* y, Index n) {
  for (Index i = 0; i < n; ++i) y[i] = x[i] + (i > 0 ? a[i] * y[i - 1] : 0);
}

// 3. Its gradients: a recurrence, too, from the end.
void backward(const double* dy, const double* a, const double* y, double* da, double* dx, Index n) {
  for (Index i = n - 1; i >= 0; --i) {
    dx[i] = dy[i] + (i + 1 < n ? a[i + 1] * dx[i + 1] : 0);
    da[i] = i > 0 ? dx[i] * y[i - 1] : 0;
  }
}

// 4. The op: checks at the door, the value, and a lambda for the gradients; what it captures lives until backward.
Variable recurrence(const Variable& a, const Variable& x) {
  check_rank("recurrence", "x", x.value(), 2);
  check_alike("recurrence", "a", a.value(), "x", x.value());
  check_shape("recurrence", "a", a.value(), x.shape());
  const Index n = x.dim(1);
  const auto row = [n](const Tensor& t, Index b) { return t.data<double>() + b * n; };
  const auto out_row = [n](Tensor& t, Index b) { return t.data<double>() + b * n; };
  Tensor y = empty_like(x.value());
  parallel_for(x.dim(0), 2 * n, [&](Index b) { forward(row(a.value(), b), row(x.value(), b), out_row(y, b), n); });
  return record("recurrence", y, {a, x}, [=, a = Saved(a), y = Saved(y)](const Tensor& upstream, Grads& grads) {
    const Tensor dy = upstream.contiguous();
    Tensor da = empty_like(dy), dx = empty_like(dy);
    parallel_for(dy.dim(0), 3 * n,
                 [&](Index b) { backward(row(dy, b), row(a, b), row(y, b), out_row(da, b), out_row(dx, b), n); });
    grads.add(0, da);
    grads.add(1, dx);
  });
}

// 5. The judge: the slow loop, and central differences.
int main(int argc, char** argv) {
  if (argc > 1) return (std::cerr << "own_primitive: unexpected argument '" << argv[1] << "'\n", 2);
  for (const Index n : {1, 2, 31, 1000}) {
    Tensor a = empty({3, n}, kFloat64, kCpu), x = empty_like(a);
    fill_uniform(a, 0.5, 1, /*seed=*/1, stream_id("a"));
    fill_normal(x, 0, 1, /*seed=*/1, stream_id("x"));
    const Tensor y = recurrence(Variable(a), Variable(x)).value();
    const double *pa = a.data<double>(), *px = x.data<double>(), *py = y.data<double>();
    double off = 0;
    for (Index i = 0, first = 0; i < 3 * n; first = ++i / n * n)
      off = std::max(off, std::abs(py[i] - slow(pa + first, px + first, i - first)));
    const auto op = [](const std::vector<Variable>& in) { return std::vector{recurrence(in[0], in[1])}; };
    const GradcheckResult gradients = gradcheck(op, {Variable(a, true), Variable(x, true)});
    std::cout << "N = " << n << ": off the slow loop by " << off << ", gradients by " << gradients.worst << "\n";
    if (!gradients || off > 1e-12) return 1;
  }
}
