#include "subquad/nn/init.h"

#include <cmath>

#include "subquad/core/check.h"
#include "subquad/core/rng.h"

namespace subquad::nn {

namespace {

Init constant(double value) {
  return [value](Tensor& out, std::uint64_t, std::uint64_t) { fill(out, value); };
}

// Uniform or normal with the variance that numerator / fan gives.
enum class Fan { inputs, both };
double variance(const char* op, const Tensor& weight, double numerator, Fan fan) {
  check_rank(op, "weight", weight, 2);
  const Index count = weight.dim(0) + (fan == Fan::both ? weight.dim(1) : 0);
  return count > 0 ? numerator / static_cast<double>(count) : 0;  // an empty weight has nothing to draw
}

Init scaled_uniform(const char* op, double numerator, Fan fan) {
  return [=](Tensor& out, std::uint64_t seed, std::uint64_t stream) {
    const double bound = std::sqrt(3 * variance(op, out, numerator, fan));  // U(-a, a) has variance a^2 / 3
    fill_uniform(out, -bound, bound, seed, stream);
  };
}

Init scaled_normal(const char* op, double numerator, Fan fan) {
  return [=](Tensor& out, std::uint64_t seed, std::uint64_t stream) {
    fill_normal(out, 0, std::sqrt(variance(op, out, numerator, fan)), seed, stream);
  };
}

}  // namespace

Init zeros_init() {
  return constant(0);
}

Init ones_init() {
  return constant(1);
}

Init normal_init(double deviation, double mean) {
  return
      [=](Tensor& out, std::uint64_t seed, std::uint64_t stream) { fill_normal(out, mean, deviation, seed, stream); };
}

Init uniform_init(double low, double high) {
  return [=](Tensor& out, std::uint64_t seed, std::uint64_t stream) { fill_uniform(out, low, high, seed, stream); };
}

Init xavier_uniform() {
  return scaled_uniform("xavier_uniform", 2, Fan::both);
}

Init xavier_normal() {
  return scaled_normal("xavier_normal", 2, Fan::both);
}

Init kaiming_uniform() {
  return scaled_uniform("kaiming_uniform", 2, Fan::inputs);
}

Init kaiming_normal() {
  return scaled_normal("kaiming_normal", 2, Fan::inputs);
}

}  // namespace subquad::nn
