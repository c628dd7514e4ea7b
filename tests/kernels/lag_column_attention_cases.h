// What tests of lag-column attention share: cases, their inputs, and the definition as a slow loop in double that goes
// by kernels/lag_column_attention/lag_column_attention.h alone.
#pragma once

#include <vector>

#include "subquad/kernels/lag_column_attention/lag_column_attention.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test::lag_column_cases {

using kernels::AttentionOutput;
using kernels::LagColumnGrads;
using kernels::LagColumnOptions;
using kernels::LagColumns;
using kernels::LagColumnScores;

struct Case {
  std::vector<Index> lengths = {7, 5};
  Index heads = 2, positions = 7, lags = 3, columns = 2, width = 4, value_width = 4;
  bool scores = false;
  double scale = 0, dropout = 0;

  Index batch() const { return static_cast<Index>(lengths.size()); }
};

struct Inputs {
  Tensor q, k, v, dout, dlse;
  LagColumns chosen;
  LagColumnScores scores;
  Mask mask;
  LagColumnOptions options;
};

// Step 3 of a training whose data set knows the batch's samples by these numbers.
RandomState random_of(const std::vector<Index>& samples);

Inputs make_inputs(const Case& c, DType dtype);

struct Results {
  Tensor out, lse, dq, dk, dv, dlag, dcol;

  std::vector<Tensor> all() const { return {out, lse, dq, dk, dv, dlag, dcol}; }
};

Results run(const Inputs& in);
bool same(const Results& a, const Results& b);

// The keys of each query by the definition, as an index for gathered attention: [B, H, N, Kl + Kc], -1 where there is
// none.
Tensor slot_keys(const Case& c, const LagColumns& chosen);

// Slot by slot, in double.
Results slow(const Case& c, const Inputs& in);

// Equality of run and slow, for every SIMD target and dtype.
void check(const Case& c);

}  // namespace subquad::test::lag_column_cases
