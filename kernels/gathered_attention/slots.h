// Which slots of a head are live, seen from its queries and from its keys.
#pragma once

#include "subquad/kernels/gathered_attention/gathered_attention.h"

namespace subquad::kernels {

// The slots of one head as a query meets them.
struct Slots {
  const Index* index;  // [Nq, K]
  const bool* real;    // [Nk], null = every key is
  bool skip;           // padded queries see nothing
  Index queries, count;

  Slots(const Tensor& all, const Mask& keys, Index key_count, const GatheredAttentionOptions& options, Index head)
      : index(all.data<Index>() + head * all.dim(2) * all.dim(3)),
        real(keys.defined() ? keys.real.data<bool>() + head / all.dim(1) * key_count : nullptr),
        skip(real != nullptr && options.skip_padded_queries && all.dim(2) == key_count),
        queries(all.dim(2)),
        count(all.dim(3)) {}

  bool is_real(Index j) const { return real == nullptr || real[j]; }
  bool skipped(Index i) const { return skip && !real[i]; }

  // Is no slot empty, and no key left out? Where there is a mask nobody looks.
  bool all_live(Index i) const {
    Index signs = real == nullptr ? 0 : -1;
    for (Index t = 0; t < count; ++t) signs |= index[i * count + t];
    return signs >= 0;
  }

  // The key of a slot, -1 where it is not live; the query must not be skipped.
  Index key(Index i, Index t) const {
    const Index j = index[i * count + t];
    return j >= 0 && is_real(j) ? j : -1;
  }
};

// The same slots by keys: entries[starts[j]] ... entries[starts[j + 1] - 1] are those whose key is j, rising. An entry
// holds query i and the number a of the slot among the query's live ones as i 2^s + a, 2^s >= K, so that neither costs
// a division.
struct SlotsByKey {
  Tensor starts;   // int64 [Nk + 1]
  Tensor entries;  // int64
  int shift;       // s

  SlotsByKey(const Slots& slots, Index key_count);

  Index query(Index entry) const { return entry >> shift; }
  Index live_slot(Index entry) const { return entry & ((Index{1} << shift) - 1); }
};

}  // namespace subquad::kernels
