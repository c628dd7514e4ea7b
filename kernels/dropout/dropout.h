// Dropout with bits that are a pure function of where an element stands in the data set.
//
//   out[b, p, f] = keep ? x[b, p, f] / (1 - probability) : 0        keep = uniform_float(word(b, p, f)) >= probability
//
//   x [B, ..., D]: b the sample, p the row-major index of the middle dimensions (0 when there are none), f the feature
//   word(b, p, f) as in core/rng.h, from random.samples [B] and random.step
//
// The bits depend neither on the batch that a sample is drawn into, nor on the padding behind it, nor on threads. x:
// float32 or float64, contiguous, rank >= 2; 0 <= probability < 1. With probability 0 the result is a copy and `random`
// may be undefined. The gradient regenerates the mask; nothing is stored.
#pragma once

#include "subquad/core/rng.h"

namespace subquad::kernels {

Tensor dropout(const Tensor& x, double probability, const RandomState& random);
Tensor dropout_grad(const Tensor& dout, double probability, const RandomState& random);

// For every kernel with a dropout in it: Error unless 0 <= probability < 1; and unless probability is 0, `random` must
// hold step int64 [1] and samples int64 [B], on the device of x [B, ...].
void check_dropout(const char* op, double probability, const RandomState& random, const char* name, const Tensor& x);

}  // namespace subquad::kernels
