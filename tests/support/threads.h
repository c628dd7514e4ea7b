// Results must not depend on how many threads made them.
#pragma once

#include <functional>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::test {

// Does f give the same bits with 1, 2 and 3 threads? Restores the thread count.
bool same_for_any_thread_count(const std::function<std::vector<Tensor>()>& f);

}  // namespace subquad::test
