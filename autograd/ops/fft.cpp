#include "subquad/autograd/ops/fft.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/fft/fft.h"

namespace subquad {

// All of these are linear: nothing is kept for backward, and each gradient is the transpose of its map.

Variable fft(const Variable& x, int axis) {
  return record("fft", kernels::fft(x.value(), axis), {x},
                [axis](const Tensor& dout, Grads& grads) { grads.add(0, kernels::fft_grad(dout.contiguous(), axis)); });
}

Variable ifft(const Variable& x, int axis) {
  return record("ifft", kernels::ifft(x.value(), axis), {x}, [axis](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::ifft_grad(dout.contiguous(), axis));
  });
}

Variable rfft(const Variable& x, int axis) {
  Tensor out = kernels::rfft(x.value(), axis);
  return record("rfft", out, {x}, [n = x.dim(axis), axis](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::rfft_grad(dout.contiguous(), n, axis));
  });
}

Variable irfft(const Variable& x, Index n, int axis) {
  return record("irfft", kernels::irfft(x.value(), n, axis), {x}, [axis](const Tensor& dout, Grads& grads) {
    grads.add(0, kernels::irfft_grad(dout.contiguous(), axis));
  });
}

Variable complex_to_pairs(const Variable& x) {
  return record("complex_to_pairs", kernels::complex_to_pairs(x.value()), {x},
                [](const Tensor& dout, Grads& grads) { grads.add(0, kernels::pairs_to_complex(dout.contiguous())); });
}

Variable pairs_to_complex(const Variable& x) {
  return record("pairs_to_complex", kernels::pairs_to_complex(x.value()), {x},
                [](const Tensor& dout, Grads& grads) { grads.add(0, kernels::complex_to_pairs(dout.contiguous())); });
}

}  // namespace subquad
