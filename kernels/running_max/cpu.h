// The CPU kernels behind running_max.h. Arguments are checked, x's last stride is 1, columns <= max(N, 1); the
// gradient is added to what stands in dx.
#pragma once

#include "subquad/kernels/running_max/running_max.h"

namespace subquad::kernels::cpu {

void running_max(const Tensor& x, const RunningMaxOptions& options, const Mask& mask, Tensor& out);
void running_max_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                      const Mask& mask, Tensor& dx);

}  // namespace subquad::kernels::cpu
