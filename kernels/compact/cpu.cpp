#include "subquad/kernels/compact/cpu.h"

#include <cstring>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {
namespace {

enum class Way { to_front, to_places };

// A group is the N rows of one sample and one index of the dimensions between.

void move_rows(const Tensor& x, const Mask& mask, Way way, Tensor& out) {
  if (out.size() == 0) return;
  const Index groups = x.dim(1), positions = x.dim(2);
  const std::size_t row = static_cast<std::size_t>(x.dim(3)) * dtype_bytes(x.dtype());
  const bool* real = mask.real.data<bool>();
  const std::byte* source = x.bytes();
  std::byte* target = out.bytes();
  parallel_for(x.dim(0) * groups, positions * x.dim(3), [&](Index group) {
    const bool* is_real = real + group / groups * positions;
    const std::size_t start = static_cast<std::size_t>(group * positions) * row;
    const auto at = [&](Index i) { return start + static_cast<std::size_t>(i) * row; };
    Index front = 0;
    for (Index i = 0; i < positions; ++i) {
      if (is_real[i]) {
        const Index from = way == Way::to_front ? i : front, to = way == Way::to_front ? front : i;
        std::memcpy(target + at(to), source + at(from), row);
        ++front;
      } else if (way == Way::to_places) {
        std::memset(target + at(i), 0, row);
      }
    }
    if (way == Way::to_front) std::memset(target + at(front), 0, at(positions) - at(front));
  });
}

}  // namespace

void compact(const Tensor& x, const Mask& mask, Tensor& out) {
  move_rows(x, mask, Way::to_front, out);
}

void spread(const Tensor& x, const Mask& mask, Tensor& out) {
  move_rows(x, mask, Way::to_places, out);
}

void prefix_positions(const Tensor& lengths, Tensor& real) {
  auto r = real.view<bool, 2>();
  for (Index b = 0; b < r.dim(0); ++b)
    for (Index i = 0; i < r.dim(1); ++i) r(b, i) = i < lengths.data<Index>()[b];
}

}  // namespace subquad::kernels::cpu
