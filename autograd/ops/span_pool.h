// Block reductions over spans of positions; all rules are in kernels/span_pool/span_pool.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/span_pool/span_pool.h"

namespace subquad {

using kernels::SpanPool;

Variable span_pool(const Variable& x, const Tensor& spans, SpanPool pool,
                   const Mask& mask = {});  // [B, N, C] -> [B, S, C]

}  // namespace subquad
