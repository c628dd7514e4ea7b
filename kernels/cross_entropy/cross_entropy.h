// Cross entropy of class logits, fused with their softmax: the probabilities are never stored.
//
//   losses[b]     = log sum_c exp(logits[b,c]) - logits[b, labels[b]]
//   dlogits[b,c]  = d losses[b] / d logits[b,c] = softmax(logits[b])[c] - (c == labels[b])
//
//   logits, dlogits [B, C] float32 or float64; labels int64 [B]; losses [B]; contiguous, one device; B may be 0
//
// The gradient is made in the same pass as the loss when `want_grad` asks for it; otherwise dlogits is undefined.
// A label outside [0, C) is an Error that names sample, label and C; on CUDA it is thrown by whoever next waits for the
// device, and until then the sample has the loss NaN (of which optimisers make no step) and the gradient 0. A sample
// whose own logit is -inf has the loss +inf; one whose logits are all -inf has the loss +inf and the gradient 0.
// Deterministic: one writer per row. Reads logits once from memory and writes dlogits once: 8 bytes per float32
// element. On a CPU dlogits of more than 64 classes and of 32 MiB or more is written past the caches, the gradient of
// backward from 8 MiB on, where a row is whole lines of 64 bytes.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct CrossEntropy {
  Tensor losses;   // [B]
  Tensor dlogits;  // [B, C], of each sample's own loss
};

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& labels, bool want_grad);

// The gradient for any upstream: dlosses[b] * dlogits[b,c].
Tensor cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits);

}  // namespace subquad::kernels
