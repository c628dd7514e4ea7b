#include "subquad/kernels/embedding/embedding.h"

#include "subquad/core/check.h"
#include "subquad/kernels/copy/cuda.h"
#include "subquad/kernels/copy/rows.h"

namespace subquad::kernels {
namespace {

void check_ids(const char* op, const char* name, const Tensor& t, const Tensor& ids) {
  check_dtype(op, "ids", ids, kInt64);
  check_contiguous(op, "ids", ids);
  check_same_device(op, name, t, "ids", ids);
}

// For the CPU; on CUDA the kernels look at the ids.
void check_range(const char* op, const Tensor& ids, Index rows) {
  const Index* id = ids.data<Index>();
  for (Index i = 0; i < ids.size(); ++i) {
    if (id[i] >= 0 && id[i] < rows) continue;
    Shape place = ids.shape();
    Index rest = i;
    for (int d = place.rank() - 1; d >= 0; --d) {
      place[d] = rest % ids.shape()[d];
      rest /= ids.shape()[d];
    }
    throw Error(cat(op, ": ids", place, " is ", id[i], ", expected 0 <= id < ", rows, ", the rows of the table"));
  }
}

}  // namespace

Tensor embedding(const Tensor& table, const Tensor& ids) {
  check_float("embedding", "table", table);
  check_rank("embedding", "table", table, 2);
  check_contiguous("embedding", "table", table);
  check_ids("embedding", "table", table, ids);
  Tensor out = empty(ids.shape().inserted(ids.rank(), table.dim(1)), table.dtype(), table.device());
  Tensor rows = out.reshape({1, ids.size(), table.dim(1)});
  const Tensor slab = table.unsqueeze(0), picks = ids.reshape({ids.size()});
  on_device(
      table.device(),
      [&](auto) {
        check_range("embedding", ids, table.dim(0));
        cpu::select_rows(slab, picks, rows);
      },
      [&](auto) { cuda::select_rows(slab, picks, cuda::Complaint::embedding_id, rows); });
  return out;
}

Tensor embedding_grad(const Tensor& dout, const Tensor& ids, Index rows) {
  check_float("embedding_grad", "dout", dout);
  check_contiguous("embedding_grad", "dout", dout);
  check_rank("embedding_grad", "dout", dout, ids.rank() + 1);
  const Index width = dout.dim(-1);
  check_shape("embedding_grad", "dout", dout, ids.shape().inserted(ids.rank(), width));
  check_ids("embedding_grad", "dout", dout, ids);
  Tensor dtable = empty({rows, width}, dout.dtype(), dout.device());
  Tensor slab = dtable.unsqueeze(0);
  const Tensor upstream = dout.reshape({1, ids.size(), width}), picks = ids.reshape({ids.size()});
  on_device(
      dout.device(),
      [&](auto) {
        check_range("embedding_grad", ids, rows);
        cpu::add_rows(upstream, picks, slab);
      },
      [&](auto) { cuda::add_rows(upstream, picks, cuda::Complaint::embedding_id, slab); });
  return dtable;
}

}  // namespace subquad::kernels
