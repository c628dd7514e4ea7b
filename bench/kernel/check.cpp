#include "subquad/bench/kernel/check.h"

#include <algorithm>
#include <cmath>

#include "subquad/bench/kernel/measure.h"
#include "subquad/core/precision.h"

namespace subquad::bench {

namespace {

constexpr Index kCompared = Index{1} << 20;  // elements at either end
constexpr double kRounding = 1e-12;          // of float64: an exact result that is so small beside the others is 0

Tensor doubles(const Tensor& t) {
  return t.to(kCpu).to(kFloat64).contiguous();
}

// What is compared of each tensor; so a million positions do not have to come to the CPU.
Tensor compared(const Tensor& t) {
  if (t.size() <= 2 * kCompared) return doubles(t);
  const Tensor flat = t.contiguous().reshape({t.size()});
  Tensor ends = empty({2 * kCompared}, kFloat64, kCpu);
  Tensor first = ends.slice(0, 0, kCompared), last = ends.slice(0, kCompared, 2 * kCompared);
  copy(doubles(flat.slice(0, 0, kCompared)), first);
  copy(doubles(flat.slice(0, t.size() - kCompared, t.size())), last);
  return ends;
}

double largest(const Tensor& t) {
  double most = 0;
  const Tensor values = compared(t);
  for (const double value : values.span<double>()) most = std::max(most, std::fabs(value));
  return most;
}

// NaN where one of them is
double difference(const Tensor& a, const Tensor& b) {
  const Tensor x = compared(a), y = compared(b);
  double most = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const double d = std::fabs(x.data<double>()[i] - y.data<double>()[i]);
    if (std::isnan(d)) return d;
    most = std::max(most, d);
  }
  return most;
}

// Gives `exact` the values of `work`'s inputs.
void share_inputs(const Work& work, Work& exact) {
  for (auto& [name, input] : exact.inputs)
    if (input.dtype() == kFloat64) copy(work.inputs.at(name).value().to(kFloat64), input.mutable_value());
}

}  // namespace

double check_against_float64(const Case& c, Settings settings, const nn::Place& place, const CheckLimits& limits) {
  if (settings.has("n")) settings.set("n", cat(std::min(settings.size("n"), limits.positions)));
  if (settings.has("batch")) settings.set("batch", cat(std::min<Index>(settings.size("batch"), 1)));
  Work work = c.make(settings, place), exact = c.make(settings, nn::Place(place.seed(), kFloat64, place.device()));
  share_inputs(work, exact);
  const auto got = Runner(std::move(work)).results(), want = Runner(std::move(exact)).results();

  std::map<int, double> gradients;  // the largest element, by rank
  double results = 0;               // the largest element of all that comes out and of what comes from above
  for (const auto& [name, tensor] : want) {
    if (name.starts_with("grad.")) gradients[tensor.rank()] = std::max(gradients[tensor.rank()], largest(tensor));
    if (name.starts_with("out") || name.starts_with("upstream")) results = std::max(results, largest(tensor));
  }
  double worst = 0;
  for (const auto& [name, tensor] : want) {
    if (!name.starts_with("out") && !(limits.gradients && name.starts_with("grad."))) continue;
    const double own = name.starts_with("grad.") ? gradients[tensor.rank()] : largest(tensor);
    const double scale = own > kRounding * results ? own : std::max(results, 1e-30);
    const double error = difference(got.at(name), tensor) / scale;
    if (!(error <= limits.tolerance))
      throw Error(cat(c.op, ": in ", precision_name(precision()), " ", name, " differs from float64 by ", error,
                      " of the largest element, expected at most ", limits.tolerance));
    worst = std::max(worst, error);
  }
  return worst;
}

}  // namespace subquad::bench
