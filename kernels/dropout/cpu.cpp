#include "subquad/kernels/dropout/cpu.h"

#include <algorithm>

#include "subquad/core/parallel.h"
#include "subquad/kernels/dropout/keep.h"

namespace subquad::kernels::cpu {

void dropout(const Tensor& x, double probability, const RandomState& random, Tensor& out) {
  if (x.size() == 0) return;
  constexpr Index kStrip = 256;  // features at a time; a multiple of 4
  const Index width = x.dim(-1), positions = x.size() / width / x.dim(0);
  const DropoutRows rows(probability, random);
  visit_float("dropout", x.dtype(), [&]<class T>(Type<T>) {
    const T* source = x.data<T>();
    T* target = out.data<T>();
    parallel_for(x.dim(0) * positions, 10 * width, [&](Index row) {
      T factors[kStrip];
      for (Index f = 0; f < width; f += kStrip) {
        const Index count = std::min(kStrip, width - f);
        rows.factors(row / positions, row % positions, f, count, factors);
        for (Index i = 0; i < count; ++i) target[row * width + f + i] = source[row * width + f + i] * factors[i];
      }
    });
  });
}

}  // namespace subquad::kernels::cpu
