// What reads and writes each row once: x [batch, n, d].
#include "subquad/autograd/ops/bias_act_dropout.h"
#include "subquad/autograd/ops/layer_norm.h"
#include "subquad/autograd/ops/softmax.h"
#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

namespace {

const std::vector<Setting> kRows = {
    {"n", "4096", "rows of a sample"}, {"d", "64", "features"}, {"batch", "4", "samples"}};

Variable rows(const Settings& s, const nn::Place& place) {
  return normal_input(place, "x", {s.size("batch"), s.size("n"), s.size("d")});
}

// `flops` per element forward and backward; x is read and the result written, backward reads both gradients, too.
Work row_work(const Variable& x, std::map<std::string, Variable> inputs, double flops, double flops_backward,
              std::function<Variable()> op) {
  const double bytes = bytes_of({x.shape()}, x.dtype()), elements = static_cast<double>(x.value().size());
  inputs["x"] = x;
  return {.inputs = std::move(inputs),
          .forward = [op = std::move(op)]() -> std::vector<Variable> { return {op()}; },
          .forward_count = {flops * elements, 2 * bytes},
          .backward_count = {flops_backward * elements, 3 * bytes}};
}

Work softmax_work(const Settings& s, const nn::Place& place) {
  const Variable x = rows(s, place);
  return row_work(x, {}, 4, 4, [=] { return softmax(x); });
}

Work layer_norm_work(const Settings& s, const nn::Place& place) {
  const Variable x = rows(s, place);
  const Variable gamma = normal_input(place, "gamma", {x.dim(2)}), beta = normal_input(place, "beta", {x.dim(2)});
  return row_work(x, {{"gamma", gamma}, {"beta", beta}}, 8, 14, [=] { return layer_norm(x, gamma, beta, 1e-5); });
}

Work bias_gelu_work(const Settings& s, const nn::Place& place) {
  const Variable x = rows(s, place), bias = normal_input(place, "bias", {x.dim(2)});
  return row_work(x, {{"bias", bias}}, 4, 8, [=] { return bias_act_dropout(x, bias, Activation::gelu); });
}

}  // namespace

std::vector<Case> row_cases() {
  std::vector<Case> cases = {
      {"row_softmax", "softmax of each row", kRows, softmax_work},
      {"layer_norm", "each row to mean 0 and variance 1, times gamma, plus beta", kRows, layer_norm_work},
      {"bias_gelu", "gelu(x + bias)", kRows, bias_gelu_work}};
  return cases;
}

}  // namespace subquad::bench
