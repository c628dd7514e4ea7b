#include "subquad/kernels/linear/operands.h"

#include <algorithm>

#include "subquad/core/precision.h"
#include "subquad/kernels/linear/rows.h"
#include "subquad/kernels/matmul/to_bfloat16.h"

namespace subquad::kernels {

std::vector<Tensor> product_operands(const std::vector<Tensor>& tensors) {
  const auto rounds = [](const Tensor& t) {
    return t.defined() && !t.device().is_cpu() && t.dtype() == kFloat32 && t.rank() >= 1;
  };
  if (precision() != Precision::bf16 || !std::all_of(tensors.begin(), tensors.end(), rounds)) return tensors;
  std::vector<Tensor> matrices;
  for (const Tensor& t : tensors) matrices.push_back(t.rank() > 1 ? t : t.unsqueeze(0));
  std::vector<Tensor> operands;
  on_device(
      tensors[0].device(), [](auto) {}, [&](auto) { operands = cuda::to_bfloat16(matrices); });
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].rank() == 1) operands[i] = operands[i].select(0, 0);
    operands[i] = operands[i].expand(tensors[i].shape());  // what repeats itself was rounded once
  }
  return operands;
}

std::vector<Tensor> group_operands(const std::vector<Tensor>& tensors) {
  if (precision() != Precision::bf16 || tensors[0].rank() < 2) return product_operands(tensors);
  std::vector<Tensor> rows, operands;
  for (const Tensor& t : tensors) rows.push_back(as_rows(t));
  const Tensor all = side_by_side(rows);
  if (!all.defined()) return product_operands(tensors);
  const Tensor rounded = product_operands({all})[0];
  const Index width = tensors[0].dim(-1);
  for (std::size_t s = 0; s < tensors.size(); ++s) {
    const Index first = static_cast<Index>(s) * width;
    operands.push_back(rounded.slice(1, first, first + width).reshape(tensors[s].shape()));
  }
  return operands;
}

}  // namespace subquad::kernels
