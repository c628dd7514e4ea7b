#include "subquad/core/mask.h"

#include "subquad/core/check.h"

namespace subquad {

Mask Mask::from_lengths(const Tensor& lengths, Index positions) {
  check_rank("Mask::from_lengths", "lengths", lengths, 1);
  check_dtype("Mask::from_lengths", "lengths", lengths, kInt64);
  const Tensor host = lengths.to(kCpu).contiguous();
  Tensor real = empty({host.dim(0), positions}, kBool, kCpu);
  auto out = real.view<bool, 2>();
  for (Index b = 0; b < host.dim(0); ++b) {
    const Index length = host.data<Index>()[b];
    if (length < 0 || length > positions)
      throw Error(cat("Mask::from_lengths: sample ", b, " has length ", length, ", expected 0 to ", positions));
    for (Index i = 0; i < positions; ++i) out(b, i) = i < length;
  }
  return {real.to(lengths.device()), lengths.clone(), true};
}

Mask Mask::from_bool(const Tensor& real) {
  check_rank("Mask::from_bool", "real", real, 2);
  check_dtype("Mask::from_bool", "real", real, kBool);
  const Tensor host = real.to(kCpu);
  const auto in = host.view<const bool, 2>();
  Tensor lengths = empty({host.dim(0)}, kInt64, kCpu);
  bool prefix = true;
  for (Index b = 0; b < host.dim(0); ++b) {
    Index count = 0;
    for (Index i = 0; i < host.dim(1); ++i) {
      if (in(b, i) && count < i) prefix = false;
      count += in(b, i) ? 1 : 0;
    }
    lengths.data<Index>()[b] = count;
  }
  return {real.clone(), lengths.to(real.device()), prefix};
}

Mask Mask::to(Device device) const {
  if (!defined()) return {};
  return {real.to(device), lengths.to(device), prefix};
}

void check_mask(const char* op, const Mask& mask, Index batch, Index positions) {
  if (!mask.defined()) return;
  check_shape(op, "mask", mask.real, {batch, positions});
  check_dtype(op, "mask", mask.real, kBool);
  check_contiguous(op, "mask", mask.real);
  check_shape(op, "the mask's lengths", mask.lengths, {batch});
  check_dtype(op, "the mask's lengths", mask.lengths, kInt64);
  check_contiguous(op, "the mask's lengths", mask.lengths);
}

}  // namespace subquad
