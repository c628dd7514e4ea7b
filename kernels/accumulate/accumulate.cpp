#include "subquad/kernels/accumulate/accumulate.h"

#include "subquad/core/check.h"
#include "subquad/kernels/accumulate/cuda.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::kernels {

namespace {

constexpr const char* kOp = "accumulate";

void check_addition(const Addition& addition) {
  const auto& [to, parts] = addition;
  check_float(kOp, "to", to);
  check_contiguous(kOp, "to", to);
  check_same_kind(kOp, "to", to, "parts", parts);
  if (parts.rank() != to.rank() + 1 || parts.shape().without(0) != to.shape())
    throw ShapeError(cat(kOp, ": parts is ", describe(parts), ", expected [P, ...] of ", to.shape()));
  const bool rows = parts.rank() == 3 && parts.strides()[2] == 1;
  if (parts.dim(0) > 0 && !rows) check_contiguous(kOp, "a part", parts.select(0, 0));
}

}  // namespace

void accumulate(std::vector<Addition>& additions) {
  std::vector<Addition> on_cuda;
  for (Addition& addition : additions) {
    check_addition(addition);
    auto& [to, parts] = addition;
    if (parts.size() == 0) continue;
    if (to.device().is_cpu())
      add_into(to, parts.dim(0) == 1 ? parts.select(0, 0) : sum(parts, {0}));
    else
      on_cuda.push_back(addition);
  }
  while (!on_cuda.empty()) {  // all entries of one device and dtype, then those of the next
    const Device device = on_cuda.front().to.device();
    const DType dtype = on_cuda.front().to.dtype();
    std::vector<Addition> alike, others;
    for (Addition& addition : on_cuda) {
      const bool same = addition.to.device() == device && addition.to.dtype() == dtype;
      (same ? alike : others).push_back(std::move(addition));
    }
    on_device(
        device, [](auto) {}, [&](auto) { cuda::accumulate(alike); });
    for (Addition& addition : alike) addition.to.bump_version();
    on_cuda = std::move(others);
  }
}

}  // namespace subquad::kernels
