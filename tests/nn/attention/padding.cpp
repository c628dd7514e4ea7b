#include "subquad/tests/nn/attention/padding.h"

#include "subquad/tests/nn/slow.h"

namespace subquad::test {

Tensor with_padding(const Tensor& x, const Mask& mask, double value) {
  Tensor out = x.to(kCpu).clone();
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index i = 0; i < x.dim(1); ++i) {
      Tensor row = out.select(0, b).select(0, i);
      if (!slow::is_real(mask, b, i)) fill(row, value);
    }
  return here(out);
}

Tensor real_part(const Tensor& x, const Mask& mask) {
  return with_padding(x, mask, 0);
}

}  // namespace subquad::test
