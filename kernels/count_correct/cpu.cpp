#include "subquad/kernels/count_correct/cpu.h"

#include <cmath>

namespace subquad::kernels::cpu {

void count_correct(const Tensor& logits, const Tensor& labels, Tensor& count) {
  visit_float("count_correct", logits.dtype(), [&]<class T>(Type<T>) {
    const auto row = logits.view<const T, 2>();
    const auto label = labels.view<const std::int64_t, 1>();
    std::int32_t correct = 0;
    for (Index b = 0; b < row.dim(0); ++b) {
      Index best = 0;
      bool any_nan = false;
      for (Index c = 0; c < row.dim(1); ++c) {
        if (row(b, c) > row(b, best)) best = c;
        any_nan = any_nan || std::isnan(row(b, c));
      }
      if (row.dim(1) > 0 && !any_nan && best == label(b)) ++correct;
    }
    *count.data<std::int32_t>() = correct;
  });
}

}  // namespace subquad::kernels::cpu
