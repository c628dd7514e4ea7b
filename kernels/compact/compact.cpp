#include "subquad/kernels/compact/compact.h"

#include "subquad/core/check.h"
#include "subquad/kernels/compact/cpu.h"
#include "subquad/kernels/compact/cuda.h"

namespace subquad::kernels {
namespace {

// move(x, mask, out) for contiguous [B, A, N, C].
template <class Move>
Tensor moved(const char* op, const Tensor& x, const Mask& mask, int dim, const Move& move) {
  check_defined(op, "x", x);
  const int d = dim < 0 ? dim + x.rank() : dim;
  if (d < 1 || d >= x.rank())
    throw ShapeError(cat(op, ": dim is ", dim, ", expected that of the positions of x ", x.shape(),
                         " = [B, .., N, ..]: 1 to ", x.rank() - 1));
  check_mask(op, mask, x.dim(0), x.dim(d));
  if (!mask.defined() || mask.prefix) return x;
  check_same_device(op, "x", x, "mask", mask.real);
  Shape form = {x.dim(0), 1, x.dim(d), 1};
  for (int i = 1; i < x.rank(); ++i)
    if (i != d) form[i < d ? 1 : 3] *= x.dim(i);
  Tensor out = empty(form, x.dtype(), x.device(), op);
  move(x.contiguous().reshape(form), mask, out);
  return out.reshape(x.shape());
}

}  // namespace

Tensor compact(const Tensor& x, const Mask& mask, int dim) {
  return moved("compact", x, mask, dim, [](const Tensor& from, const Mask& of, Tensor& out) {
    on_device(
        out.device(), [&](auto) { cpu::compact(from, of, out); }, [&](auto) { cuda::compact(from, of, out); },
        "compact");
  });
}

Tensor spread(const Tensor& x, const Mask& mask, int dim) {
  return moved("spread", x, mask, dim, [](const Tensor& from, const Mask& of, Tensor& out) {
    on_device(
        out.device(), [&](auto) { cpu::spread(from, of, out); }, [&](auto) { cuda::spread(from, of, out); }, "spread");
  });
}

Mask compact(const Mask& mask) {
  if (!mask.defined() || mask.prefix) return mask;
  check_mask("compact", mask, mask.real.dim(0), mask.real.dim(1));
  check_same_device("compact", "mask", mask.real, "the mask's lengths", mask.lengths);
  Tensor real = empty_like(mask.real);
  on_device(
      real.device(), [&](auto) { cpu::prefix_positions(mask.lengths, real); },
      [&](auto) { cuda::prefix_positions(mask.lengths, real); });
  return {.real = real, .lengths = mask.lengths, .prefix = true};
}

}  // namespace subquad::kernels
