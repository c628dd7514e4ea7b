// Named tensors: what a model or an optimiser keeps in a file (core/safetensors.h holds the same map).
#pragma once

#include <map>
#include <string>

#include "subquad/core/tensor.h"

namespace subquad::nn {

using StateDict = std::map<std::string, Tensor>;

// Copies every tensor of `from` into the tensor of the same name in `into` (in place: all handles to it see the
// values). Names, shapes and dtypes must agree exactly; otherwise nothing is copied and one Error tells all that
// differs, the first five of each kind by name:
//
//   op: 2 missing (a, b); 1 unexpected (c); 1 of another shape or dtype (d is [2] float32, expected [3] float32)
void load_tensors(const std::string& op, const StateDict& into, const StateDict& from);

}  // namespace subquad::nn
