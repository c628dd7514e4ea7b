// The modules of nn/attention themselves, on queries, keys and values that are given: x = [q k v], N rows of 3 E
// features, are their hidden states, and their projections are set to pick q, k and v out of x. So what is compared is
// the code that trains, no second formula.
#pragma once

#include <memory>

#include "subquad/examples/compare/inputs.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::compare {

// What FSAT's cross sees of the hidden states.
enum class FsatCross {
  fresh,             // random maps of x, as a new module has them
  queries_and_keys,  // q and k: then the score of a lag or a column is the mean of its logits, but for one constant
};

// config: kind and its own options; the head has the inputs' width, there is no bias where there may be none, and
// nystrom has no skip over the values, as softmax attention has none. paramixer has no query or key: its link
// perceptrons are fresh, and read x.
nn::AttentionConfig picked_config(nn::AttentionConfig config, const Inputs& in, FsatCross cross = FsatCross::fresh);

// Flops a query (work.h) of such a module, but with hidden states of E features, as wide as its one head.
double picked_flops(const nn::AttentionConfig& config, const Inputs& in, FsatCross cross = FsatCross::fresh);

// A [N, N] of the module with this config: mixing_matrix of nn/attention/attention.h, whose product with v is what the
// head puts out.
Tensor picked_matrix(const nn::AttentionConfig& config, const Inputs& in, std::uint64_t seed,
                     FsatCross cross = FsatCross::fresh);

}  // namespace subquad::compare
