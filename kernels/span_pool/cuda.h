// The CUDA kernels behind span_pool.h. Arguments are checked, x's last stride is 1, dx is contiguous and all written.
#pragma once

#include "subquad/kernels/span_pool/span_pool.h"

namespace subquad::kernels::cuda {

void span_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask, SpanPooled& result);
void span_pool_grad(const Tensor& dout, const Tensor& x, const Tensor& spans, SpanPool pool, const SpanPooled& forward,
                    const Mask& mask, Tensor& dx);

}  // namespace subquad::kernels::cuda
