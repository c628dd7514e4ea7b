#include "subquad/kernels/matmul/cuda.h"

#include <algorithm>
#include <vector>

#include "subquad/core/precision.h"
#include "subquad/kernels/cublas/gemm.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/matmul/batched.h"
#include "subquad/kernels/matmul/cuda_small.cuh"
#include "subquad/kernels/matmul/to_bfloat16.h"

namespace subquad::kernels::cuda {

namespace {

// A batch dimension: how many matrices, and how far apart they lie in each operand and in the output.
struct Step {
  Index count;
  Index a, b, out;
};

// The batch dimensions, innermost last. One that goes on where the next inner one ends is the same dimension.
std::vector<Step> steps(const Shape& batch, const Shape& a, const Shape& b, const Shape& out) {
  std::vector<Step> merged;
  for (int d = 0; d < batch.rank(); ++d) {
    if (batch[d] == 1) continue;
    const Step inner = {batch[d], a[d], b[d], out[d]};
    if (!merged.empty()) {
      Step& outer = merged.back();
      if (outer.a == inner.count * inner.a && outer.b == inner.count * inner.b &&
          outer.out == inner.count * inner.out) {
        outer = {outer.count * inner.count, inner.a, inner.b, inner.out};
        continue;
      }
    }
    merged.push_back(inner);
  }
  return merged;
}

// Calls f(offset in a, in b, in out) for every item of `rest`.
template <class F>
void for_each_item(const std::vector<Step>& rest, const F& f) {
  Index count = 1;
  for (const Step& step : rest) count *= step.count;
  for (Index item = 0; item < count; ++item) {
    Step at = {item, 0, 0, 0};
    for (const Step& step : rest) {
      const Index i = at.count % step.count;
      at = {at.count / step.count, at.a + i * step.a, at.b + i * step.b, at.out + i * step.out};
    }
    f(at.a, at.b, at.out);
  }
}

// One call of cuBLAS takes matrices at equal distances: the longest batch dimension. What other dimensions remain
// (heads that lie between positions, a broadcast in the middle) are walked here.
template <class In, class Out, class... How>
void run(const Tensor& a, const Tensor& b, Out alpha, Out beta, Tensor& out, How... how) {
  const Shape batch = batch_shape(out);
  const auto left = batched<const In>(a, batch), right = batched<const In>(b, batch);
  const auto to = batched<Out>(out, batch);
  std::vector<Step> rest = steps(batch, left.strides, right.strides, to.strides);
  Step together = {1, 0, 0, 0};
  if (!rest.empty()) {
    const auto longest =
        std::max_element(rest.begin(), rest.end(), [](const Step& x, const Step& y) { return x.count < y.count; });
    together = *longest;
    rest.erase(longest);
  }
  const Products products = {together.count, out.dim(-2), out.dim(-1), a.dim(-1)};
  for_each_item(rest, [&](Index in_a, Index in_b, Index in_out) {
    const Matrices<const In> x = {{left.matrix.data + in_a, left.matrix.ld, left.matrix.transposed}, together.a};
    const Matrices<const In> y = {{right.matrix.data + in_b, right.matrix.ld, right.matrix.transposed}, together.b};
    const Matrices<Out> z = {{to.matrix.data + in_out, to.matrix.ld}, together.out};
    gemm(products, alpha, x, y, beta, z, how...);
  });
}

template <class T>
SmallMatrices<T> small_matrices(const Matrix<T>& matrix, Index outer, Index inner) {
  return {matrix.data, matrix.transposed ? 1 : matrix.ld, matrix.transposed ? matrix.ld : 1, outer, inner};
}

// Batches of small matrices in two batch dimensions at most, as the products between landmarks are: one launch of ours
// where cuBLAS needs one per head, without copies to bfloat16, and with bits that do not depend on the rest of the
// batch. False where they are none such.
bool run_small(const Tensor& a, const Tensor& b, float alpha, float beta, Tensor& out) {
  const Index m = out.dim(-2), n = out.dim(-1), k = a.dim(-1);
  if (out.rank() != 4 || std::max({m, n, k}) > kMostSmall) return false;
  const Shape batch = batch_shape(out);
  const auto left = batched<const float>(a, batch), right = batched<const float>(b, batch);
  const auto to = batched<float>(out, batch);
  small_matmul({batch[0], batch[1], m, n, k, alpha, beta},
               small_matrices(left.matrix, left.strides[0], left.strides[1]),
               small_matrices(right.matrix, right.strides[0], right.strides[1]),
               small_matrices(to.matrix, to.strides[0], to.strides[1]));
  return true;
}

void run_float(const Tensor& a, const Tensor& b, float alpha, float beta, Tensor& out) {
  if (a.dtype() == kBFloat16) return run<BFloat16>(a, b, alpha, beta, out);
  if (run_small(a, b, alpha, beta, out)) return;
  switch (precision()) {
    case Precision::fp32: return run<float>(a, b, alpha, beta, out, FloatProduct::exact);
    case Precision::tf32: return run<float>(a, b, alpha, beta, out, FloatProduct::tf32);
    case Precision::bf16: {
      const std::vector<Tensor> rounded = to_bfloat16({a, b});
      return run<BFloat16>(rounded[0], rounded[1], alpha, beta, out);
    }
  }
  throw InternalError("matmul: precision out of range");
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, double alpha, double beta, Tensor& out) {
  if (out.size() == 0) return;
  if (a.dim(-1) == 0) {  // a sum of nothing
    if (beta == 0)
      fill(out, 0);
    else
      scale_into(out, beta);
    return;
  }
  const Tensor left = is_readable(a) ? a : a.contiguous(), right = is_readable(b) ? b : b.contiguous();
  if (out.dtype() == kFloat64)
    run<double>(left, right, alpha, beta, out);
  else
    run_float(left, right, static_cast<float>(alpha), static_cast<float>(beta), out);
}

}  // namespace subquad::kernels::cuda
