// Kernels that move elements without computing: concatenation, picking by index, and the gradients of both and of
// slicing. (Views, copies and casts are members of Tensor.)
//
//   index_select   out[.., j, ..]    = x[.., index[j], ..]            `dim` gets the extent of index [J]
//   gather         out[i0, .., ik..] = x[i0, .., index[i0, .., ik..], ..]   index has x's rank; so has out its shape
//
// Moving kernels take every dtype; gradients take float32 and float64. Tensors may have any strides; results are new
// and contiguous. `dim` may be negative. Indices are int64, counted from 0; one out of range is an Error that names its
// place and value; on CUDA the next wait for the device throws it, and until then what it picks is 0. An index may
// occur more than once: its gradients are then added in the order of their places, by one writer, so the bits never
// depend on the number of threads.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

// At least one tensor; all of one dtype and device, and of one shape but for `dim`.
Tensor concat(const std::vector<Tensor>& tensors, int dim);

// Gradient of x.slice(dim, start, stop, step) for x of `shape`: zeros with dout written into the slice.
Tensor slice_grad(const Tensor& dout, const Shape& shape, int dim, Index start, Index step = 1);

Tensor index_select(const Tensor& x, int dim, const Tensor& index);
Tensor index_select_grad(const Tensor& dout, int dim, const Tensor& index, Index extent);  // extent: x.dim(dim)

// index.dim(d) <= x.dim(d) for every d but `dim`.
Tensor gather(const Tensor& x, int dim, const Tensor& index);
Tensor gather_grad(const Tensor& dout, int dim, const Tensor& index, const Shape& shape);  // shape: x's

}  // namespace subquad::kernels
