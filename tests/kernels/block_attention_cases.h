// What tests of block attention share: cases, their inputs, and the definition as a slow loop that goes by the table in
// kernels/block_attention/block_attention.h alone.
#pragma once

#include <iosfwd>
#include <vector>

#include "subquad/kernels/block_attention/block_attention.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test::block_attention_cases {

using kernels::BlockAttentionGrads;
using kernels::BlockAttentionOptions;
using kernels::BlockAttentionOutput;
using kernels::BlockKind;
using kernels::BlockPattern;
using kernels::LineSight;
using kernels::Summaries;

struct BlockCase {
  BlockPattern pattern = {};
  Index batch = 2, heads = 2, n = 7, width = 4, value_width = 3;
  enum class Padding { none, prefix, scattered } padding = Padding::none;
};
std::ostream& operator<<(std::ostream& out, const BlockCase& c);

// Every pattern, causal or not, with and without the own span, for segments of `size`.
std::vector<BlockPattern> all_patterns(Index size);

// Is every cell of the grid a query, padded or not?
bool running(const BlockPattern& pattern);

struct BlockInputs {
  Tensor q, k, v, dout, dlse;
  std::vector<Summaries> summaries;
  Mask mask;
};
BlockInputs make_inputs(const BlockCase& c, DType dtype);  // the summaries are drawn, too

struct BlockExpected {
  Tensor out, lse, dq, dk, dv;
  std::vector<Summaries> dsummaries;
};
BlockExpected slow_block_attention(const BlockCase& c, const BlockInputs& in);

struct BlockResults {
  BlockAttentionOutput forward;
  BlockAttentionGrads grads;
  std::vector<Tensor> all() const;
};
BlockResults run(const BlockCase& c, const BlockInputs& in, const BlockAttentionOptions& options = {});

}  // namespace subquad::test::block_attention_cases
