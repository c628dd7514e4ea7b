#include "subquad/autograd/ops/embedding.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/embedding/embedding.h"

namespace subquad {

Variable embedding(const Variable& table, const Tensor& ids, Index frozen) {
  // dtable[v] = sum of dout over the places whose id is v; 0 for the frozen row
  return record("embedding", kernels::embedding(table.value(), ids), {table},
                [ids = Saved(ids), rows = table.dim(0), frozen](const Tensor& dout, Grads& grads) {
                  Tensor dtable = kernels::embedding_grad(dout.contiguous(), ids, rows);
                  if (frozen >= 0) {
                    Tensor row = dtable.slice(0, frozen, frozen + 1);
                    fill(row, 0);
                  }
                  grads.add(0, dtable);
                });
}

}  // namespace subquad
