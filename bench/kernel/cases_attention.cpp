// Fused attention kernels on q, k, v [batch, heads, n, d / heads].
#include "subquad/autograd/ops/attention.h"
#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

namespace {

// [B, H, N, E], laid out as a projection leaves it.
Variable head_input(const nn::Place& place, const std::string& name, const Settings& s) {
  const Index heads = s.size("heads"), width = s.size("d");
  if (heads < 1 || width % heads != 0)
    throw Error(cat("attention: --d ", width, " does not divide by --heads ", heads));
  const Variable flat = normal_input(place, name, {s.size("batch"), s.size("n"), heads, width / heads});
  return Variable(flat.value().transpose(1, 2), true);
}

Work attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const AttentionOptions options = {.causal = s.flag("causal")};
  const auto n = static_cast<double>(q.dim(2));
  const double pairs = static_cast<double>(q.dim(0) * q.dim(1)) * (options.causal ? n * (n + 1) / 2 : n * n);
  const double flops = 4 * pairs * static_cast<double>(q.dim(3));
  const double bytes = bytes_of({q.shape()}, place.dtype());
  return {.inputs = {{"q", q}, {"k", k}, {"v", v}},
          .forward = [=]() -> std::vector<Variable> { return {attention(q, k, v, {}, options).out}; },
          .forward_count = {flops, 4 * bytes},
          .backward_count = {2.5 * flops, 8 * bytes}};
}

}  // namespace

std::vector<Case> attention_cases() {
  return {{"attention",
           "exact softmax attention, logits never stored",
           {{"n", "4096", "positions"},
            {"d", "64", "features of all heads"},
            {"batch", "4", "samples"},
            {"heads", "2", "heads"},
            {"causal", "false", "no key behind the query"}},
           attention_work}};
}

}  // namespace subquad::bench
