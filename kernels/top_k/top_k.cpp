#include "subquad/kernels/top_k/top_k.h"

#include <span>

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

namespace {

Tensor checked_choice(const char* op, const TopKChoice& choice, const Mask& mask) {
  const auto& [keys, k, window] = choice;
  check_rank(op, "keys", keys, 3);
  check_float(op, "keys", keys);
  check_contiguous(op, "keys", keys);
  check_prefix_mask(op, mask, keys.dim(0), keys.dim(2));
  if (mask.defined()) check_same_device(op, "keys", keys, "mask", mask.lengths);
  if (k < 0) throw Error(cat(op, ": k is ", k, ", expected 0 or more"));
  if (window < -1) throw Error(cat(op, ": window is ", window, ", expected -1 (nothing forced) or more"));
  if (window >= 0 && k - window <= window)  // 2 window + 1 could overflow
    throw Error(cat(op, ": window is ", window, " and k is ", k,
                    ", expected k >= 2 window + 1, or window = -1 (nothing forced)"));
  return empty({keys.dim(0), keys.dim(1), k}, kInt64, keys.device(), op);
}

void choose(const char* op, std::span<const TopKChoice> choices, const Mask& mask, std::span<Tensor> chosen) {
  on_device(
      choices[0].keys.device(),
      [&](auto) {
        for (std::size_t c = 0; c < choices.size(); ++c)
          cpu::choose_top_k(choices[c].keys, choices[c].window, mask, chosen[c]);
      },
      [&](auto) { cuda::choose_top_k(choices, mask, chosen); }, op);
}

}  // namespace

Tensor choose_top_k(const Tensor& keys, Index k, Index window, const Mask& mask) {
  constexpr const char* kOp = "choose_top_k";
  const TopKChoice choice = {keys, k, window};
  Tensor chosen = checked_choice(kOp, choice, mask);
  choose(kOp, {&choice, 1}, mask, {&chosen, 1});
  return chosen;
}

std::array<Tensor, 2> choose_top_k_pair(const TopKChoice& first, const TopKChoice& second, const Mask& mask) {
  constexpr const char* kOp = "choose_top_k_pair";
  const std::array<TopKChoice, 2> choices = {first, second};
  std::array<Tensor, 2> chosen = {checked_choice(kOp, first, mask), checked_choice(kOp, second, mask)};
  check_shape(kOp, "the second keys", second.keys, first.keys.shape());
  check_alike(kOp, "keys", first.keys, "the second keys", second.keys);
  choose(kOp, choices, mask, chosen);
  return chosen;
}

}  // namespace subquad::kernels
