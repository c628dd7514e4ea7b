// Ops that move elements without computing. The first group gives views of x's memory, as the members of Tensor of the
// same names do; the second copies (kernels/copy).
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable reshape(const Variable& x,
                 const Shape& shape);  // one extent may be -1; ShapeError where only a copy could do it
Variable transpose(const Variable& x, int a, int b);
Variable permute(const Variable& x, const std::vector<int>& order);
Variable slice(const Variable& x, int dim, Index start, Index stop, Index step = 1);
Variable select(const Variable& x, int dim, Index index);
Variable expand(const Variable& x, const Shape& shape);
Variable unsqueeze(const Variable& x, int dim);
Variable squeeze(const Variable& x, int dim);

Variable contiguous(const Variable& x);         // x itself when it is so already
Variable cast(const Variable& x, DType dtype);  // a result that is not floating point carries no gradient
Variable concat(const std::vector<Variable>& parts, int dim);
Variable index_select(const Variable& x, int dim, const Tensor& index);  // index: int64 [J]
Variable gather(const Variable& x, int dim, const Tensor& index);        // index: int64, x's rank

}  // namespace subquad
