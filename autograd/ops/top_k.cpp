#include "subquad/autograd/ops/top_k.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/top_k/top_k.h"

namespace subquad {

TopK top_k(const Variable& x, Index k) {
  const kernels::TopK f = kernels::top_k(x.value(), k);
  const Variable values =
      record("top_k", f.values, {x}, [shape = x.shape(), indices = Saved(f.indices)](const Tensor& dout, Grads& grads) {
        grads.add(0, kernels::top_k_grad(dout.contiguous(), indices, shape));
      });
  return {values, f.indices};
}

}  // namespace subquad
