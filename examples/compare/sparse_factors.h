// How well a product of Paramixer's sparse factors can stand for a given matrix, when the numbers in the factors are
// free: no perceptron makes them from data, each place has its own. A fresh Paramixer knows nothing of any softmax
// matrix; this asks what its factors could be.
//
//   W_M ... W_1 ~ A       W_m: L links a row, by the chord protocol, or by CDIL's with L of your choice
//                         (kernels/chord_matmul/links.h)
//
// Fitted to A's action on random vectors, C new ones in each step, with our own autograd and AdamW:
//
//   loss = || W_M ... W_1 G - A G ||^2 / (C || A ||^2)     G [N, C] of standard normals
//
// whose expectation is the squared relative Frobenius error. A fit is a lower limit of what the factors can do, not the
// best of them. Source: Khalitov, Yu, Cheng, Yang 2022, arXiv 2109.08184 (square matrices as products of sparse ones).
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::compare {

struct FitOptions {
  Index factors = 0;   // M; 0: the whole number next above log2 N
  Index links = 0;     // L of the CDIL protocol, odd; 0: the chord protocol, whose L is the number next above log2 N, and one
  Index steps = 500;   // of AdamW, its rate falling to 0 along a cosine
  Index vectors = 64;  // C
  double rate = 0;     // at first; 0: 0.2 / M, at most 0.05, which fitted best where it was tried (M = 8 and 20)
  std::uint64_t seed = 1;
};

struct SparseFactors {
  Tensor matrix;  // W_M ... W_1 [N, N]
  Index factors = 0;
  Index links = 0;  // of a row
};

// A [N, N], float32. Factors begin as means: chord's over the 2^k links that each of them is there for, CDIL's over a
// row and the one 2^m behind it; log2 N of them together make the mean over all positions. Deterministic.
SparseFactors fit_sparse_factors(const Tensor& a, const FitOptions& options);

}  // namespace subquad::compare
