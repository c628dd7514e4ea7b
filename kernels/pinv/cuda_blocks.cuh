// pinv of float32 matrices that fit into the shared memory of one block.
#pragma once

#include "subquad/kernels/pinv/cuda_start.cuh"

namespace subquad::kernels::cuda {

inline constexpr Index kMostInBlock = 128, kMostInBlockGrad = 64;  // rows of a matrix

// Whether the device has that much shared memory for a matrix of so many rows, too.
bool pinv_fits_block(Index rows);
bool pinv_grad_fits_block(Index rows);

void pinv_in_blocks(const Tensor& a, const PinvNorms<float>& norms, int iterations, PinvOutput& result);

// dc [count] gets the gradient of every matrix's c where norms has the tops of all matrices; not written elsewhere.
void pinv_grad_in_blocks(const Tensor& dout, const Tensor& a, const Tensor& steps, const PinvNorms<float>& norms,
                         const PinvOptions& options, Tensor& da, Tensor& dc);

}  // namespace subquad::kernels::cuda
