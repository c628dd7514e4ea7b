// CPU kernels of bias_act_dropout.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"

namespace subquad::kernels::cpu {

// Where the rows of x stand among all rows: row `first` + r is position (first + r) % positions of a sample.
struct RowPlace {
  Index first, positions;
};

// kept [rows, KeptBits::row_bytes_of(D)] uint8, or undefined: written here where something is dropped, read by the
// gradient. out may be x.
void bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                      RowPlace place, const Tensor& residual, Tensor& out, Tensor kept);

// Without an activation x is not read. With a bias, chunk c of kRowsPerChunk rows leaves its share of dbias in
// partial(c, :); the caller adds the chunks.
inline constexpr Index kRowsPerChunk = 128;
void bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                           const RandomState& rng, RowPlace place, const Tensor& kept, Tensor& dx, Tensor& partial);

}  // namespace subquad::kernels::cpu
