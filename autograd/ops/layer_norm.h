// Layer normalisation over the last axis, alone or fused with the residual addition before it (kernels/layer_norm).
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

// x [..., D], gamma [D], beta [D]
Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps);

// Where x also goes on beside its norm, to a residual addition: backward adds both gradients in the norm's own pass.
struct LayerNormBranch {
  Variable x;    // itself
  Variable out;  // layer_norm(x)
};
LayerNormBranch layer_norm_branch(const Variable& x, const Variable& gamma, const Variable& beta, double eps);

struct AddLayerNorm {
  Variable sum;  // x + residual, what the next residual addition takes
  Variable out;  // layer_norm(sum)
};
AddLayerNorm add_layer_norm(const Variable& x, const Variable& residual, const Variable& gamma, const Variable& beta,
                            double eps);

}  // namespace subquad
