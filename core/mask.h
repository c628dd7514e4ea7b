// Which positions of a padded batch hold a real token. Built once where the batch is made, never inside a forward.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad {

struct Mask {
  Tensor real;         // bool [B, N], true = a real token
  Tensor lengths;      // int64 [B]: how many real tokens each sample has
  bool prefix = true;  // every sample's real tokens are its first lengths[b] positions

  bool defined() const { return real.defined(); }  // an undefined mask means: every position is real

  // lengths: int64 [B], 0 <= lengths[b] <= positions. ShapeError / Error otherwise, naming the sample.
  static Mask from_lengths(const Tensor& lengths, Index positions);
  static Mask from_bool(const Tensor& real);  // bool [B, N]

  Mask to(Device device) const;
};

// A mask is undefined, or as Mask::from_lengths makes it: contiguous, of shape [batch, positions], with its lengths.
void check_mask(const char* op, const Mask& mask, Index batch, Index positions);

}  // namespace subquad
