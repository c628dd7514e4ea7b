#include "subquad/autograd/ops/cross_entropy.h"

#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/record.h"
#include "subquad/kernels/cross_entropy/cross_entropy.h"

namespace subquad {

Variable cross_entropy(const Variable& logits, const Tensor& labels) {
  const Variable each = cross_entropy_each(logits, labels);
  return each.dim(0) == 0 ? sum(each) : mean(each);
}

Variable cross_entropy_each(const Variable& logits, const Tensor& labels) {
  const bool want_grad = grad_enabled() && logits.requires_grad();
  const kernels::CrossEntropy result = kernels::cross_entropy(logits.value(), labels, want_grad);
  // dlogits[b,c] = dout[b] (softmax(logits[b])[c] - (c == labels[b]))      [B, C], made with the loss
  return record("cross_entropy", result.losses, {logits},
                [dlogits = Saved(result.dlogits)](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::cross_entropy_grad(dout.contiguous(), dlogits));
                });
}

}  // namespace subquad
