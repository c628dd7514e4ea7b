// M two-layer perceptrons that read the same rows, the link weights of all factors at once; hidden values are never
// stored.
//
//   z_m = x A_m + a_m        out_m = gelu(z_m) C_m + c_m        m = 1 ... M, row by row
//
//   x [B, N, I]   first A [M, I, H]   first_bias a [M, H]   second C [M, H, O]   second_bias c [M, O]
//   out [M, B, N, O]; gelu in the erf form
//
// float32 or float64, one dtype, contiguous, one device; I, H, O >= 1, any other extent may be 0. With a mask (any,
// also with holes) out is 0 at padding, what stands there in x or dout is not read, and x gets gradient 0 there.
//
// A row is computed alone, in the same order of operations wherever it stands. Gradients of the parameters are summed
// over chunks of at least 512 rows, cut by shape, and the chunks in order: the same bits for any number of threads.
// Work: 2 M B N H (I + O) flops and M B N H erf forward; three times that backward, which computes z anew. Memory:
// beside results, the parameters once more, some 64 rows per thread, and one set of gradients per chunk (at most 64
// sets, and 64 MiB where there is more than one). On the CPU x and dout are read in place, out is written from registers
// and hidden values stay in L1; only strips of 64 rows with padding among them are copied.
//
// On CUDA float32 with I, O <= 128 is multiplied on tensor cores in precision() (core/precision.h), the rest by plain
// loops. Backward computes z once for dx and once more for the gradients of the parameters; beside results it holds the
// first layers once more and sets of gradients for chunks of at least 256 rows (64 MiB where there is more than one).
// Gradients of the parameters have the same bits on devices with as much shared memory per block: where layers are
// wider than 64 and H <= 32, it decides whether a chunk is summed in one part or two.
// Source: Yu et al. 2022 (Paramixer): f_m, and g as M = 1.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct FactorMlp {
  Tensor first, first_bias, second, second_bias;
};

Tensor factor_mlp(const Tensor& x, const FactorMlp& mlp, const Mask& mask = {});

struct FactorMlpGrads {
  Tensor dx;      // undefined unless wanted
  FactorMlp mlp;  // gradients of the parameters
};
FactorMlpGrads factor_mlp_grad(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask = {},
                               bool want_dx = true);

}  // namespace subquad::kernels
