// Runs a job of cyclic_job.cuh.
#pragma once

#include <algorithm>

#include "subquad/kernels/circular/cyclic_in_block.cuh"
#include "subquad/kernels/circular/cyclic_long.cuh"

namespace subquad::kernels::cuda {

// On tensors [B, N, D], none of them empty. Error naming `op` where N is above 2^21 (float64: 2^19).
template <class T, class Job>
void run_cyclic(const char* op, const Job& job, const Mask& mask, const Tensor& like) {
  const int most = longest_in_block<T, Job>();
  const CyclicShape shape = {Lengths(mask, like.dim(1)), like.dim(1), like.dim(2), most};
  if (shape.positions > kLongestCyclic<T>)
    throw Error(cat(op, ": N is ", shape.positions, ", expected at most ", kLongestCyclic<T>, " for ", like.dtype(),
                    " on CUDA"));
  const int positions = static_cast<int>(shape.positions);
  const int longest = mask.defined() ? padded_length(2 * positions - 1) : cyclic_length(positions);
  if (mask.defined() || longest <= most) launch_in_block<T>(op, job, shape, like.dim(0), std::min(longest, most));
  if (longest > most) launch_long<T>(op, job, shape, like, longest);
}

}  // namespace subquad::kernels::cuda
