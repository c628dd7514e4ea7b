// Running maxima along the lines of a grid, each cell's own position left out: what is summarised of the tokens before
// (or after) it.
//
//   out[b, i, c] = max x[b, j, c]    over the real positions j that precede cell i on its row (along = row) or in its
//                                    column (column); with `after`, over those that follow it
//
//   x [B, N, C]   position j stands in row j / columns, column j % columns   mask [B, N], undefined = all are real
//   out [B, cells, C], cells = ceil(N / columns) columns: also behind the last position, whose lines hold some
//
// Where nothing real precedes, out is 0. Padded positions are not read and get gradient 0; one row of N columns is the
// running maximum of a sequence. x: float32 or float64, last stride 1 or copied; a number of columns above N counts
// as N.
//
// The gradient of a maximum goes to the position that attained it, of equal ones to the one that the run met first. No
// index is kept: walking back, a position takes what has gathered behind it if it is above the maximum that it met.
// Deterministic: a line is walked by one thread. Source: Combiner (Ren et al. 2021), AxialMixtureSelfAttLayer of
// layer.py in the official code, which takes inclusive maxima and shifts them by one cell.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class GridAxis { row, column };

struct RunningMaxOptions {
  Index columns = 1;
  GridAxis along = GridAxis::row;
  bool after = false;
};

Tensor running_max(const Tensor& x, const RunningMaxOptions& options, const Mask& mask = {});

// out: what running_max returned for the same arguments. dx [B, N, C].
Tensor running_max_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                        const Mask& mask = {});

// The same added to what stands in dx [B, N, C], any strides (last 1), nobody else's memory.
void running_max_add_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                          Tensor& dx, const Mask& mask = {});

}  // namespace subquad::kernels
