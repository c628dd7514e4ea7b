#include "subquad/kernels/gumbel_noise/gumbel_noise.h"

#include <cmath>

#include "subquad/core/check.h"
#include "subquad/kernels/gumbel_noise/cpu.h"
#include "subquad/kernels/gumbel_noise/cuda.h"

namespace subquad::kernels {

Tensor gumbel_noise(const Shape& shape, DType dtype, const RandomState& random, const GumbelOptions& options) {
  constexpr const char* kOp = "gumbel_noise";
  if (shape.rank() != 3) throw ShapeError(cat(kOp, ": shape is ", shape, ", expected [B, H, N]"));
  check_dtype(kOp, "random.step", random.step, kInt64);
  check_shape(kOp, "random.step", random.step, {1});
  check_dtype(kOp, "random.samples", random.samples, kInt64);
  check_shape(kOp, "random.samples", random.samples, {shape[0]});
  check_contiguous(kOp, "random.samples", random.samples);
  check_same_device(kOp, "random.step", random.step, "random.samples", random.samples);
  if (!std::isfinite(options.scale)) throw Error(cat(kOp, ": scale is ", options.scale, ", expected a finite number"));
  if (options.fade_steps < 0)
    throw Error(cat(kOp, ": fade_steps is ", options.fade_steps, ", expected 0 (the scale stays) or more"));
  Tensor out = empty(shape, dtype, random.step.device());
  check_float(kOp, "the result", out);
  on_device(
      out.device(), [&](auto) { cpu::gumbel_noise(random, options, out); },
      [&](auto) { cuda::gumbel_noise(random, options, out); });
  return out;
}

}  // namespace subquad::kernels
