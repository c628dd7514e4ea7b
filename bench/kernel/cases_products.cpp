// Matrix products, large and skinny.
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

namespace {

double product_flops(Index m, Index n, Index k) {
  return 2 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

Work matmul_work(const Settings& s, const nn::Place& place) {
  const Index batch = s.size("batch"), m = s.size("m"), n = s.size("n"), k = s.size("k");
  const Variable a = normal_input(place, "a", {batch, m, k}), b = normal_input(place, "b", {batch, k, n});
  const double flops = static_cast<double>(batch) * product_flops(m, n, k);
  const double bytes = bytes_of({a.shape(), b.shape(), {batch, m, n}}, place.dtype());
  return {.inputs = {{"a", a}, {"b", b}},
          .forward = [=]() -> std::vector<Variable> { return {matmul(a, b)}; },
          .forward_count = {flops, bytes},
          .backward_count = {2 * flops, 2 * bytes}};
}

Work linear_work(const Settings& s, const nn::Place& place) {
  const Index batch = s.size("batch"), n = s.size("n"), d = s.size("d"), outputs = s.size("outputs");
  const Variable x = normal_input(place, "x", {batch, n, d}), weight = normal_input(place, "weight", {d, outputs});
  const Variable bias = normal_input(place, "bias", {outputs});
  const double flops = product_flops(batch * n, outputs, d);
  const double bytes = bytes_of({x.shape(), weight.shape(), bias.shape(), {batch, n, outputs}}, place.dtype());
  return {.inputs = {{"x", x}, {"weight", weight}, {"bias", bias}},
          .forward = [=]() -> std::vector<Variable> { return {linear(x, weight, bias)}; },
          .forward_count = {flops, bytes},
          .backward_count = {2 * flops, 2 * bytes}};
}

}  // namespace

std::vector<Case> product_cases() {
  return {{.op = "matmul",
           .about = "a [batch, m, k] times b [batch, k, n]",
           .settings =
               {{"m", "512", "rows"}, {"n", "512", "columns"}, {"k", "512", "summed over"}, {"batch", "1", "products"}},
           .make = matmul_work},
          {.op = "linear",
           .about = "x [batch, n, d] times a weight [d, outputs], plus a bias",
           .settings = {{"n", "4096", "positions"},
                        {"d", "64", "features"},
                        {"outputs", "64", "features"},
                        {"batch", "4", "samples"}},
           .make = linear_work}};
}

}  // namespace subquad::bench
