#include "subquad/examples/compare/growth.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "subquad/autograd/backward.h"
#include "subquad/core/allocator.h"
#include "subquad/core/rng.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::compare {

namespace {

double processor_seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

nn::AttentionConfig config_of(const std::string& kind, Index positions, Index width) {
  return {.kind = kind, .width = width, .heads = kind == "paramixer" ? 1 : 2, .max_length = positions};
}

std::string budget_text(const nn::AttentionConfig& c) {
  if (c.kind == "nystrom") return cat(c.nystrom.landmarks, " landmarks");
  if (c.kind == "fsat") return cat(c.fsat.lags, " lags, ", c.fsat.columns, " columns");
  if (c.kind == "paramixer") return "log2 N factors";
  if (c.kind == "combiner") return "segments of about sqrt N";
  if (c.kind == "local") return cat("window ", c.local.window);
  return c.kind == "softmax" ? "all keys" : "as it is";
}

// One module and one input, run as often as it takes.
class Timed {
 public:
  Timed(const std::string& kind, Index positions, const GrowthOptions& options)
      : module_(nn::make_attention(nn::Place(options.seed, kFloat32, kCpu), config_of(kind, positions, options.width))),
        repetitions_(options.repetitions) {
    module_->eval();
    Tensor x = empty({1, positions, options.width}, kFloat32, kCpu);
    upstream_ = empty_like(x);
    fill_normal(x, 0, 1, options.seed, stream_id("x"));
    fill_normal(upstream_, 0, 1, options.seed, stream_id("upstream"));
    x_ = Variable(x, /*requires_grad=*/true);
    leaves_ = module_->parameters();
    leaves_.push_back(x_);
  }

  GrowthPoint measure() {
    GrowthPoint point{.positions = x_.dim(1)};
    measure_pass([&] { forward(); }, point.forward, point.forward_bytes);
    measure_pass([&] { both(); }, point.both, point.both_bytes);
    return point;
  }

 private:
  Variable run() const { return module_->forward({.values = x_, .data = x_, .mask = {}, .rng = {}}); }
  void forward() const {
    const NoGrad no_grad;
    run();
  }
  void both() const { grad({run()}, leaves_, {upstream_}); }

  void measure_pass(const auto& pass, double& seconds, double& bytes) const {
    const auto before = static_cast<double>(memory_stats().current_bytes);
    reset_peak_memory();
    std::vector<double> all = {timed(pass)};  // warms up, too
    bytes = static_cast<double>(memory_stats().peak_bytes) - before;
    if (all.front() < 1) {
      all.clear();
      for (int i = 0; i < repetitions_; ++i) all.push_back(timed(pass));
    }
    std::sort(all.begin(), all.end());
    seconds = all[all.size() / 2];
  }

  static double timed(const auto& pass) {
    const double start = processor_seconds();
    pass();
    return processor_seconds() - start;
  }

  std::unique_ptr<nn::Attention> module_;
  int repetitions_;
  Variable x_;
  Tensor upstream_;
  std::vector<Variable> leaves_;
};

PowerLaw power_law(const std::vector<GrowthPoint>& points, double GrowthPoint::*value) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const std::size_t count = std::min<std::size_t>(points.size(), 3), first = points.size() - count;
  if (count < 2) return {.exponent = kNone, .within = kNone};
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  for (std::size_t i = first; i < points.size(); ++i) {
    mean_x += std::log(static_cast<double>(points[i].positions)) / static_cast<double>(count);
    mean_y += std::log(points[i].*value) / static_cast<double>(count);
  }
  for (std::size_t i = first; i < points.size(); ++i) {
    const double x = std::log(static_cast<double>(points[i].positions)) - mean_x;
    xy += x * (std::log(points[i].*value) - mean_y);
    xx += x * x;
  }
  if (count == 2) return {.exponent = xy / xx, .within = kNone};  // a line through two points says nothing of itself
  double residual = 0;
  for (std::size_t i = first; i < points.size(); ++i) {
    const double x = std::log(static_cast<double>(points[i].positions)) - mean_x;
    residual = std::max(residual, std::abs(std::log(points[i].*value) - mean_y - xy / xx * x));
  }
  return {.exponent = xy / xx, .within = std::expm1(residual)};
}

}  // namespace

Exponents fitted_exponents(const std::vector<GrowthPoint>& points) {
  return {.forward = power_law(points, &GrowthPoint::forward),
          .both = power_law(points, &GrowthPoint::both),
          .forward_bytes = power_law(points, &GrowthPoint::forward_bytes),
          .both_bytes = power_law(points, &GrowthPoint::both_bytes)};
}

GrowthCurve measure_growth(const std::string& kind, const GrowthOptions& options,
                           const std::function<void(const std::string&)>& told) {
  GrowthCurve curve{
      .kind = kind, .budget = budget_text(config_of(kind, 1, options.width)), .points = {}, .exponents = {}};
  for (const Index positions : options.lengths) {
    told(cat("time and memory of ", kind, ", N = ", positions));
    curve.points.push_back(Timed(kind, positions, options).measure());
  }
  curve.exponents = fitted_exponents(curve.points);
  return curve;
}

}  // namespace subquad::compare
