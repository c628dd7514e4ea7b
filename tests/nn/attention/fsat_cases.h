// What the tests of FSAT share: cases, and its equations as loops in double.
#pragma once

#include <memory>
#include <vector>

#include "subquad/nn/attention/fsat.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn::fsat_cases {

struct Case {
  std::vector<std::int64_t> lengths = {11, 6, 2};
  Index positions = 11, width = 6, heads = 2, head_width = 0;
  FsatConfig fsat = {.cross = 3, .hidden = 4, .lags = 4, .columns = 3, .window = 1};
  bool bias = true, holes = false;  // holes: padding between real tokens

  Index batch() const { return static_cast<Index>(lengths.size()); }
  Mask mask() const {
    if (!holes) return test::prefix_mask(lengths, positions);
    Tensor real = empty({batch(), positions}, kBool, kCpu);
    for (Index b = 0; b < batch(); ++b)
      for (Index i = 0; i < positions; ++i) real.view<bool, 2>()(b, i) = (i * 5 + b * 3) % 4 != 0 && b != 2;
    return Mask::from_bool(test::here(real));
  }
  AttentionConfig config() const {
    return {.kind = "fsat", .width = width, .heads = heads, .head_width = head_width, .bias = bias, .fsat = fsat};
  }
  std::unique_ptr<FsatAttention> attention(DType dtype) const {
    auto made = std::make_unique<FsatAttention>(test::place(dtype, 4), config());
    test::randomise(*made);
    return made;
  }
  Tensor input(DType dtype, std::uint64_t seed = 1) const {
    return test::normal({batch(), positions, width}, dtype, seed);
  }
};

std::vector<Case> cases();

// The equations of nn/attention/fsat.h, one sample and one head at a time. Positions are those of real tokens
// alone.
Tensor slow_matrix(const Tensor& x, const test::slow::Weights& w, const Case& c, const Mask& mask);  // [B, H, N, N]
Tensor slow_module(const Tensor& x, const test::slow::Weights& w, const Case& c, const Mask& mask);  // [B, N, D]

}  // namespace subquad::nn::fsat_cases
