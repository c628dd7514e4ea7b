#include "subquad/kernels/grad_norm/cpu.h"

#include <cmath>
#include <vector>

#include "subquad/core/parallel.h"

namespace subquad::kernels::cpu {

namespace {

constexpr Index kChunk = 8192;

// Eight running sums, so that the compiler can use vectors without changing the order of additions.
template <class T>
double sum_of_squares(const T* x, Index count) {
  constexpr Index kLanes = 8;
  double lanes[kLanes] = {};
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (Index l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  }
  for (; i < count; ++i) lanes[i % kLanes] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void grad_norm(const Tensor& grad, Tensor& norm) {
  std::vector<double> parts(static_cast<std::size_t>((grad.size() + kChunk - 1) / kChunk));
  visit_float("grad_norm", grad.dtype(), [&]<class T>(Type<T>) {
    const T* x = grad.data<T>();
    parallel_chunks(grad.size(), kChunk, 1, [&](Index begin, Index end) {
      parts[static_cast<std::size_t>(begin / kChunk)] = sum_of_squares(x + begin, end - begin);
    });
  });
  double sum = 0;
  for (const double part : parts) sum += part;
  *norm.data<double>() = std::sqrt(sum);
}

void clip_scale(const Tensor& norm, double max_norm, Tensor& scale) {
  const double ratio = max_norm / (norm.item<double>() + 1e-6);
  *scale.data<double>() = ratio > 1 ? 1 : ratio;  // this way round a NaN stays one
}

}  // namespace subquad::kernels::cpu
