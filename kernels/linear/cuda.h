#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

// biases [S, O], each contiguous: bias s in every row of out [S, rows, O], contiguous.
void spread_biases(const Tensor& biases, Tensor& out);

// Of matrices [rows, O], alike in shape: the sums of each column over chunks of rows, [S, chunks, O]; no rows, one
// chunk of zeros.
Tensor column_sums(const std::vector<Tensor>& matrices);

}  // namespace subquad::kernels::cuda
