#include "subquad/kernels/top_k/top_k.h"

#include "subquad/core/check.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/top_k/cpu.h"
#include "subquad/kernels/top_k/cuda.h"

namespace subquad::kernels {

TopK top_k(const Tensor& x, Index k) {
  check_float("top_k", "x", x);
  check_contiguous("top_k", "x", x);
  if (x.rank() == 0) throw ShapeError(cat("top_k: x is ", describe(x), ", expected at least one dimension"));
  if (k < 0 || k > x.dim(-1))
    throw Error(cat("top_k: k is ", k, ", expected 0 to ", x.dim(-1), ", the last extent of x ", x.shape()));
  const Shape shape = x.shape().with(x.rank() - 1, k);
  TopK out = {empty(shape, x.dtype(), x.device()), empty(shape, kInt64, x.device())};
  on_device(
      x.device(), [&](auto) { cpu::top_k(x, out); }, [&](auto) { cuda::top_k(x, out); });
  return out;
}

Tensor top_k_grad(const Tensor& dvalues, const Tensor& indices, const Shape& shape) {
  constexpr const char* kOp = "top_k_grad";
  check_float(kOp, "dvalues", dvalues);
  check_dtype(kOp, "indices", indices, kInt64);
  check_shape(kOp, "dvalues", dvalues, indices.shape());
  check_contiguous(kOp, "dvalues", dvalues);
  check_contiguous(kOp, "indices", indices);
  check_shape(kOp, "indices", indices, shape.with(shape.rank() - 1, indices.dim(-1)));
  check_same_device(kOp, "dvalues", dvalues, "indices", indices);
  Tensor dx = empty(shape, dvalues.dtype(), dvalues.device());
  on_device(
      dx.device(), [&](auto) { cpu::top_k_grad(dvalues, indices, dx); },
      [&](auto) { cuda::top_k_grad(dvalues, indices, dx); });
  return dx;
}

Tensor choose_top_k(const Tensor& keys, Index k, Index window, const Mask& mask) {
  constexpr const char* kOp = "choose_top_k";
  check_rank(kOp, "keys", keys, 3);
  check_float(kOp, "keys", keys);
  check_contiguous(kOp, "keys", keys);
  check_prefix_mask(kOp, mask, keys.dim(0), keys.dim(2));
  if (mask.defined()) check_same_device(kOp, "keys", keys, "mask", mask.lengths);
  if (k < 0) throw Error(cat(kOp, ": k is ", k, ", expected 0 or more"));
  if (window < -1) throw Error(cat(kOp, ": window is ", window, ", expected -1 (nothing forced) or more"));
  if (window >= 0 && k - window <= window)  // 2 window + 1 could overflow
    throw Error(cat(kOp, ": window is ", window, " and k is ", k,
                    ", expected k >= 2 window + 1, or window = -1 (nothing forced)"));
  Tensor chosen = empty({keys.dim(0), keys.dim(1), k}, kInt64, keys.device());
  on_device(
      keys.device(), [&](auto) { cpu::choose_top_k(keys, window, mask, chosen); },
      [&](auto) { cuda::choose_top_k(keys, window, mask, chosen); });
  return chosen;
}

}  // namespace subquad::kernels
