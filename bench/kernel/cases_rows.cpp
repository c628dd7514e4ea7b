// What reads and writes each row once: x [batch, n, d], logits [batch * n, classes]; and the optimiser's arena.
#include "subquad/autograd/ops/bias_act_dropout.h"
#include "subquad/autograd/ops/cross_entropy.h"
#include "subquad/autograd/ops/layer_norm.h"
#include "subquad/autograd/ops/softmax.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/adamw/adamw.h"
#include "subquad/kernels/elementwise/elementwise.h"

namespace subquad::bench {

namespace {

const std::vector<Setting> kRows = {
    {"n", "4096", "rows of a sample"}, {"d", "64", "features"}, {"batch", "4", "samples"}};

Variable rows(const Settings& s, const nn::Place& place) {
  return normal_input(place, "x", {s.size("batch"), s.size("n"), s.size("d")});
}

// `flops` per element forward and backward; x is read and the result written, backward reads both gradients, too. So
// are parameters and what is kept of each row, `kept` numbers, and backward writes the parameters' gradients.
Work row_work(const Variable& x, std::map<std::string, Variable> inputs, double flops, double flops_backward,
              std::function<Variable()> op, double kept = 0) {
  const double bytes = bytes_of({x.shape()}, x.dtype()), elements = static_cast<double>(x.value().size());
  double more = kept * bytes / static_cast<double>(x.dim(2)), parameters = 0;
  for (const auto& [name, parameter] : inputs) parameters += bytes_of({parameter.shape()}, x.dtype());
  more += parameters;
  inputs["x"] = x;
  return {.inputs = std::move(inputs),
          .forward = [op = std::move(op)]() -> std::vector<Variable> { return {op()}; },
          .forward_count = {flops * elements, 2 * bytes + more},
          .backward_count = {flops_backward * elements, 3 * bytes + more + parameters}};
}

Work softmax_work(const Settings& s, const nn::Place& place) {
  const Variable x = rows(s, place);
  return row_work(x, {}, 4, 4, [=] { return softmax(x); });
}

Work layer_norm_work(const Settings& s, const nn::Place& place) {
  const Variable x = rows(s, place);
  const Variable gamma = normal_input(place, "gamma", {x.dim(2)}), beta = normal_input(place, "beta", {x.dim(2)});
  return row_work(
      x, {{"gamma", gamma}, {"beta", beta}}, 8, 14, [=] { return layer_norm(x, gamma, beta, 1e-5); }, 2);
}

Work bias_gelu_work(const Settings& s, const nn::Place& place) {
  const Variable x = rows(s, place), bias = normal_input(place, "bias", {x.dim(2)});
  return row_work(x, {{"bias", bias}}, 4, 8, [=] { return bias_act_dropout(x, bias, Activation::gelu); });
}

// The mean loss, and with it the gradient of the logits, which backward only scales.
Work cross_entropy_work(const Settings& s, const nn::Place& place) {
  const Index rows = s.size("batch") * s.size("n"), classes = s.size("classes", 1);
  const Variable logits = normal_input(place, "logits", {rows, classes});
  Tensor drawn = empty({rows}, kInt64, kCpu);
  Rng rng(place.seed(), stream_id("labels"));
  for (std::int64_t& label : drawn.span<std::int64_t>()) label = rng.below(classes);
  const Tensor labels = drawn.to(place.device());
  const double bytes = bytes_of({logits.shape()}, place.dtype()), elements = static_cast<double>(rows * classes);
  const double losses = bytes_of({labels.shape()}, place.dtype());  // and their gradients
  return {.inputs = {{"logits", logits}, {"labels", Variable(labels)}},
          .forward = [=]() -> std::vector<Variable> { return {cross_entropy(logits, labels)}; },
          .forward_count = {4 * elements, 2 * bytes + losses + 8 * static_cast<double>(rows)},
          .backward_count = {elements, 2 * bytes + losses}};
}

// Steps from param, m and v on, each with the same gradient; the step's number stays 1.
Work adamw_work(const Settings& s, const nn::Place& place) {
  const Shape shape = {s.size("size")};
  const Tensor grad = normal_input(place, "grad", shape).value(), start = normal_input(place, "param", shape).value();
  const Tensor mean = normal_input(place, "m", shape).value(), root = normal_input(place, "root v", shape).value();
  const Tensor square = kernels::mul(root, root);
  const Tensor step = full({1}, 1, kInt64, place.device()), rate = full({1}, 1e-3, kFloat64, place.device());
  return {
      .inputs = {{"param", Variable(start)}, {"grad", Variable(grad)}, {"m", Variable(mean)}, {"v", Variable(square)}},
      .forward = [=, param = start.clone(), m = mean.clone(), v = square.clone()]() mutable -> std::vector<Variable> {
        kernels::adamw(param, grad, m, v, step, rate, {}, {.weight_decay = 0.01});
        return {Variable(param), Variable(m), Variable(v)};
      },
      .forward_count = {.flops = 12 * static_cast<double>(shape.size()),
                        .bytes = 7 * bytes_of({shape}, place.dtype()),
                        .held = 4 * bytes_of({shape}, place.dtype())},
      .backward_count = {}};
}

}  // namespace

std::vector<Case> row_cases() {
  std::vector<Case> cases = {
      {"row_softmax", "softmax of each row", kRows, softmax_work},
      {"layer_norm", "each row to mean 0 and variance 1, times gamma, plus beta", kRows, layer_norm_work},
      {"bias_gelu", "gelu(x + bias)", kRows, bias_gelu_work},
      {"cross_entropy",
       "mean loss of logits [batch * n, classes]",
       {{"n", "4096", "rows of a sample"}, {"batch", "4", "samples"}, {"classes", "10", "classes"}},
       cross_entropy_work},
      {"adamw",
       "a step over all parameters",
       {{"size", "262144", "parameters"}, {"tensors", "32", "tensors that a peer has them in; ours is one arena"}},
       adamw_work}};
  cases.back().has_backward = false;
  return cases;
}

}  // namespace subquad::bench
