// How a rectangle with few rows on one side and many on the other is shared between blocks: the long side is cut into
// sections of 512 rows, of which each block walks over one, and what they sum is added in order. A few queries and many
// keys in forward and in the gradient of the queries, a few keys and many queries in that of keys and values.
//
// Where it is cut depends neither on the batch nor on how long the padding is: sections in which nothing counts add
// nothing, and one section gives the same bits as no sections.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

struct Sections {
  static constexpr int kRows = 512, kFew = 64;

  int count = 1;

  // Of the rows of `walked`, for blocks that own rows of `own`; both [B, H, N, ...].
  Sections(const Tensor& own, const Tensor& walked, bool causal) {
    if (!causal && own.dim(2) <= kFew && walked.dim(2) > kRows)
      count = static_cast<int>((walked.dim(2) + kRows - 1) / kRows);
  }

  // Rows begin ... end - 1 of the section, if only those below `all` are walked over.
  __device__ int begin(int section) const { return section * kRows; }
  __device__ int end(int section, int all) const {
    return count > 1 && begin(section + 1) < all ? begin(section + 1) : all;
  }
};

}  // namespace subquad::kernels::cuda
