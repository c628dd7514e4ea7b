// Places sorted by a key on the device. What adds up by index sorts first: then each row owns its sum and no two
// threads write to one element.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

struct Order {
  Tensor keys;    // int64 [J], rising
  Tensor places;  // int64 [J]: where each key stood; rising among equal keys
};

// keys: int64 [J], J >= 1, each in [0, count). A radix sort by eight bits at a time, as many passes as `count` needs:
// three launches each. Integers only, and no order of execution shows in the result.
Order order_by_key(const Tensor& keys, Index count);

}  // namespace subquad::kernels::cuda
