// Results must not depend on how many threads made them, nor on the order in which those ran.
#pragma once

#include <functional>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::test {

// Does f give the same bits with 1, 2 and 3 threads? Restores the thread count. On other devices f runs three times,
// under the interpreter with three orders of warps and blocks (SUBQUAD_SIMT_SEED).
bool same_for_any_thread_count(const std::function<std::vector<Tensor>()>& f);

}  // namespace subquad::test
