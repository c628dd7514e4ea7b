#include "subquad/core/prefix_mask.h"

#include "subquad/core/check.h"

namespace subquad {

void check_prefix_mask(const char* op, const Mask& mask, Index batch, Index positions) {
  check_mask(op, mask, batch, positions);
  if (!mask.defined()) return;
  if (!mask.prefix)
    throw Error(cat(op,
                    ": the mask has real positions behind padded ones, expected every sample's real positions in "
                    "front (compact moves them there)"));
  if (!mask.lengths.device().is_cpu()) return;
  for (Index b = 0; b < batch; ++b) {
    const Index length = mask.lengths.data<Index>()[b];
    if (length < 0 || length > positions)
      throw Error(cat(op, ": the mask gives sample ", b, " length ", length, ", expected 0 to ", positions));
  }
}

}  // namespace subquad
