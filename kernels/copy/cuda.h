// The CUDA bodies of kernels/copy; the two about whole rows, whose equations are in rows.h, also serve
// kernels/embedding. Everything contiguous, results are written everywhere. The kernels complain of an index out of
// range and take what it picks as 0, or leave it out of the sum.
#pragma once

#include "subquad/core/cuda/report.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

using subquad::cuda::Complaint;

void select_rows(const Tensor& x, const Tensor& index, Complaint complaint, Tensor& out);

// Sorts the places by row (order.h), so that every row owns its sum; long runs of one row are cut into pieces whose
// sums are added in order. Does not depend on how often a row occurs, nor waits to learn it.
void add_rows(const Tensor& x, const Tensor& index, Complaint complaint, Tensor& out);
void add_checked_rows(const Tensor& x, const Tensor& index, Tensor& out);  // index in [0, R]; R: left out

void gather(const Tensor& x, int dim, const Tensor& index, Tensor& out);
void gather_grad(const Tensor& dout, int dim, const Tensor& index, Tensor& dx);

}  // namespace subquad::kernels::cuda
