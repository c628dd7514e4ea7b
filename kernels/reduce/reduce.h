// Reductions over any set of axes.
//
//   sum[k]  = sum_r x[k, r]        mean[k] = sum[k] / R        max[k] = max_r x[k, r]
//
// k runs over the kept axes and r, row-major, over the R elements of the reduced ones. `axes` may be negative (counted
// from the end) and in any order; an empty list means all of them. With keepdim a reduced axis stays with extent 1.
// x: float32 or float64, any strides. The result is new and contiguous.
//
// Sums are cut into blocks by shape, block sums are summed the same way, until one is left: the same bits for any
// number of threads, and a rounding error that grows with the logarithm of R.
// Over no elements, sum and mean are 0 and max is a ShapeError. A NaN wins every max (the first one).
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor sum(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false);
Tensor mean(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false);

struct MaxResult {
  Tensor values;
  Tensor indices;  // int64, shape of values: r of the first element that has the value
};
MaxResult max(const Tensor& x, const std::vector<int>& axes = {}, bool keepdim = false);

// dx of x's shape: dout where x was chosen, 0 elsewhere. dout and indices as max gave them for the same axes, keepdim.
Tensor max_grad(const Tensor& dout, const Tensor& indices, const Shape& shape, const std::vector<int>& axes = {});

// Sums x down to `shape`, which must broadcast to x's shape: the gradient of broadcasting. Returns x itself when the
// shapes are equal.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace subquad::kernels
