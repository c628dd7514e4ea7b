#include "subquad/nn/losses.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/check.h"

namespace subquad::nn {

Variable mean_squared_error(const Variable& prediction, const Variable& target) {
  check_shape("mean_squared_error", "target", target.value(), prediction.shape());
  return mean(square(sub(prediction, target)));
}

}  // namespace subquad::nn
