#include "subquad/autograd/ops/embedding.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/embedding/embedding.h"

namespace subquad {

Variable embedding(const Variable& table, const Tensor& ids) {
  // dtable[v] = sum of dout over the places whose id is v
  return record("embedding", kernels::embedding(table.value(), ids), {table},
                [ids = Saved(ids), rows = table.dim(0)](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::embedding_grad(dout.contiguous(), ids, rows));
                });
}

}  // namespace subquad
