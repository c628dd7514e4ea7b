#include "subquad/nn/losses.h"

#include <cmath>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/check.h"

namespace subquad::nn {

Variable mean_squared_error(const Variable& prediction, const Variable& target) {
  check_shape("mean_squared_error", "target", target.value(), prediction.shape());
  return mean(square(sub(prediction, target)));
}

Index count_correct(const Tensor& logits, const Tensor& labels) {
  check_rank("count_correct", "logits", logits, 2);
  check_shape("count_correct", "labels", labels, {logits.dim(0)});
  const Tensor given = logits.to(kCpu), wanted = labels.to(kCpu);
  return visit_float("count_correct", logits.dtype(), [&]<class T>(Type<T>) {
    const auto row = given.view<const T, 2>();
    const auto label = wanted.view<const std::int64_t, 1>();
    Index correct = 0;
    for (Index b = 0; b < row.dim(0); ++b) {
      Index best = 0;
      bool any_nan = false;
      for (Index c = 0; c < row.dim(1); ++c) {
        if (row(b, c) > row(b, best)) best = c;
        any_nan = any_nan || std::isnan(row(b, c));
      }
      correct += row.dim(1) > 0 && !any_nan && best == label(b);
    }
    return correct;
  });
}

}  // namespace subquad::nn
