// The CUDA kernels behind span_pool.h, for one tensor or two that are alike. Arguments are checked, the last strides
// are 1, each dx is contiguous and all written.
#pragma once

#include <span>

#include "subquad/kernels/span_pool/span_pool.h"

namespace subquad::kernels::cuda {

void span_pool(std::span<const Tensor> xs, const Tensor& spans, SpanPool pool, const Mask& mask,
               std::span<SpanPooled> results);
// adds: to what stands in dx.
void span_pool_grad(std::span<const SpanPoolGrad> grads, const Tensor& spans, SpanPool pool, const Mask& mask,
                    bool adds);

}  // namespace subquad::kernels::cuda
