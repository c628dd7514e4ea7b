// One sample of an attention without its padding. Every mask (padding, causal, both, any rectangle) comes down to the
// same three lists, since the keys that a query sees are always the first few real ones.
#pragma once

#include <span>

#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels {

struct Seen {
  std::span<const Index> keys;     // positions of the real keys
  std::span<const Index> queries;  // positions of the queries that see at least one of them
  std::span<const Index> limits;   // query number a sees the keys number 0 ... limits[a] - 1; never falls with a
  Tensor memory;                   // where the three lists stand
};

Seen seen(const Mask& mask, Index sample, Index query_count, Index key_count, const AttentionOptions& options);

}  // namespace subquad::kernels
