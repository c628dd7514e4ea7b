// A matrix made small enough to be shown: each block of elements becomes one number. Blocks are given, or are the
// smallest squares that leave at most `most` rows and columns: 1 x 1, and the matrix itself, where it has no more.
//
//   mean      the mean of the block's elements
//   largest   the element that is largest in magnitude, with its sign; of equal ones the first
//
// matrix [R, C], float32 or float64, any device and strides. Blocks at the end hold what is left of the matrix.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::inspect {

enum class Reduction { mean, largest };

struct Blocks {
  Index rows = 1, columns = 1;
};

struct Reduced {
  Tensor values;                // [ceil(R / blocks.rows), ceil(C / blocks.columns)], float32 on the CPU
  Blocks blocks;                // how many rows and columns stand behind one number
  Index rows = 0, columns = 0;  // of the matrix
  double low = 0, high = 0;     // the least and the largest of values
};

Reduced reduced(const Tensor& matrix, const Blocks& blocks, Reduction reduction);  // both >= 1, else Error
Reduced reduced(const Tensor& matrix, Index most, Reduction reduction);            // most >= 1, else Error

}  // namespace subquad::inspect
