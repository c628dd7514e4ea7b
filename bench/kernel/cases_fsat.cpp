// What chooses FSAT's keys: the hidden-state cross, the score heads, the largest scores.
#include "subquad/autograd/ops/hidden_cross.h"
#include "subquad/autograd/ops/score_heads.h"
#include "subquad/autograd/ops/top_k.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/kernels/fft/fft.h"

namespace subquad::bench {

namespace {

Work hidden_cross_work(const Settings& s, const nn::Place& place) {
  const Shape shape = {s.size("batch"), s.size("n"), s.size("d")};
  const Variable a = normal_input(place, "a", shape), b = normal_input(place, "b", shape);
  const double bytes = bytes_of({shape}, place.dtype()), elements = static_cast<double>(shape.size());
  const double transforms = kernels::real_transforms(3 * shape[0] * shape[2], shape[1]).count;
  return {.inputs = {{"a", a}, {"b", b}},
          .forward = [=]() -> std::vector<Variable> {
            const HiddenCross cross = hidden_cross(a, b);
            return {cross.lag, cross.col};
          },
          .forward_count = {transforms + 8 * elements, 4 * bytes},
          .backward_count = {transforms + 16 * elements, 6 * bytes}};  // the spectra of a and b are there
}

Work score_heads_work(const Settings& s, const nn::Place& place) {
  const Index batch = s.size("batch"), n = s.size("n"), h = s.size("heads"), r = s.size("cross"), m = s.size("hidden");
  const Variable feature = normal_input(place, "feature", {batch, n, h * r}), u = normal_input(place, "u", {h, r});
  const Variable w1 = normal_input(place, "w1", {h, r, m}), b1 = normal_input(place, "b1", {h, m});
  const Variable w2 = normal_input(place, "w2", {h, m});
  const double flops = static_cast<double>(batch * n * h) * static_cast<double>(2 * r * m + 2 * r + 2 * m);
  const double bytes = bytes_of({feature.shape(), {batch, h, n}}, place.dtype());
  return {.inputs = {{"feature", feature}, {"u", u}, {"w1", w1}, {"b1", b1}, {"w2", w2}},
          .forward = [=]() -> std::vector<Variable> { return {score_heads(feature, u, w1, b1, w2)}; },
          .forward_count = {flops, bytes},
          .backward_count = {2 * flops, 2 * bytes}};
}

Work top_k_work(const Settings& s, const nn::Place& place) {
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("heads"), s.size("n")});
  const Index k = std::min(s.size("k"), s.size("n"));
  const auto elements = static_cast<double>(x.value().size());
  const double kept = static_cast<double>(x.dim(0) * x.dim(1) * k), bytes = bytes_of({x.shape()}, place.dtype());
  return {.inputs = {{"x", x}},
          .forward = [=]() -> std::vector<Variable> { return {top_k(x, k).values}; },
          .forward_count = {elements, bytes + 12 * kept},  // comparisons; values and indices
          .backward_count = {kept, bytes + 12 * kept}};
}

}  // namespace

std::vector<Case> fsat_cases() {
  const Setting n = {"n", "4096", "positions"}, batch = {"batch", "4", "samples"}, heads = {"heads", "2", "heads"};
  return {{"hidden_cross",
           "products of all pairs pooled along lags and columns, by FFT: a, b [batch, n, d]",
           {n, {"d", "32", "channels"}, batch},
           hidden_cross_work},
          {"score_heads",
           "one score per position and head from its channels, hidden values not stored",
           {n, batch, heads, {"cross", "16", "channels of a head"}, {"hidden", "16", "width of the hidden layer"}},
           score_heads_work},
          {"top_k",
           "the k largest of each row of x [batch, heads, n]",
           {n, batch, heads, {"k", "64", "kept; at most n"}},
           top_k_work}};
}

}  // namespace subquad::bench
