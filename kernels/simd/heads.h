// How attention kernels go through the heads of a batch.
#pragma once

#include "subquad/core/parallel.h"

namespace subquad::kernels {

// f(head) for every head: side by side where there are enough of them for the threads, else one after the other with
// threads inside f; the bits are the same. `work` as of parallel_for.
template <class F>
void for_heads(Index heads, Index work, const F& f) {
  if (heads >= num_threads())
    parallel_for(heads, work, f);
  else
    for (Index head = 0; head < heads; ++head) f(head);
}

}  // namespace subquad::kernels
