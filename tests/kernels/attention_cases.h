// What all tests of attention share: cases, their inputs, and the definition as a slow loop.
#pragma once

#include <iosfwd>
#include <vector>

#include "subquad/kernels/attention/attention.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test::attention_cases {

using kernels::AttentionGrads;
using kernels::AttentionOptions;
using kernels::AttentionOutput;

enum class Padding { none, prefix, scattered };

struct AttentionCase {
  Index batch = 2, heads = 2, queries = 7, keys = 7, width = 4, value_width = 4;
  bool causal = false;
  Padding padding = Padding::none;
  double scale = 0;
  bool skip_padded_queries = true;
  Padding query_padding = Padding::none;  // of a mask of their own

  AttentionOptions options() const { return {causal, scale, skip_padded_queries, query_mask()}; }
  Mask query_mask() const;
};

std::ostream& operator<<(std::ostream& out, const AttentionCase& c);

// Sample 0 is full, sample 1 about two thirds, sample 2 empty, and so on; or two of three positions, here and there.
Mask make_mask(Padding padding, Index batch, Index positions);

struct Inputs {
  Tensor q, k, v, dout, dlse;
  Mask mask;
};
Inputs make_inputs(const AttentionCase& c, DType dtype);

// Whole numbers, low to high.
Tensor integers(const Shape& shape, DType dtype, Index low, Index high, std::uint64_t seed);

struct Expected {
  Tensor out, lse, dq, dk, dv;
};

// The definition, loop by loop, with the whole row of logits; in double.
Expected slow_attention(const AttentionCase& c, const Inputs& in);

struct Results {
  AttentionOutput forward;
  AttentionGrads grads;

  std::vector<Tensor> all() const { return {forward.out, forward.lse, forward.lse_rest, grads.dq, grads.dk, grads.dv}; }
};

Results run(const Inputs& in, const AttentionOptions& options);  // forward and backward
bool same_results(const Results& a, const Results& b);           // bit for bit

}  // namespace subquad::test::attention_cases
