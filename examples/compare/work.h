// Work of the mechanisms in one currency, so that budgets of landmarks, lags, blocks and links can be compared.
//
// Flops a query, products alone: a multiplication and an addition are two, exponentials and comparisons none. What all
// have in common, the projections before and after, is left out; what a mechanism needs beside them, like FSAT's
// prediction or the perceptrons of Paramixer's links, is in. A key that softmax attention looks at costs 4 E: a logit
// and a value.
#pragma once

#include "subquad/nn/attention/config.h"

namespace subquad::compare {

// Of the mechanism that `config` describes, over N positions, for all heads together. Of a kind that has no formula
// here, such as one of your own: counted_flops.
double flops_per_query(const nn::AttentionConfig& config, Index positions);

// What the ops of a module's mix count of themselves (core/profile.h) in a forward of its own. Ops that tell no flops
// add none; fsat's count a cell where a lag meets a column twice, combiner's a segment's own summary, which no query
// of it sees.
double counted_flops(const nn::AttentionConfig& config, Index positions);

// What of fsat's flops goes into the projections before its cross, which a cross of q and k does without.
double cross_projection_flops(const nn::AttentionConfig& config);

// Of lags * N + columns * N cells, those where a lag meets a column counted once: FSAT's attention when the choice is
// given.
double chosen_flops(Index lags, Index columns, Index positions, Index width);

// Of a chain of sparse factors whose weights are given.
double factor_flops(Index factors, Index links, Index width);

}  // namespace subquad::compare
