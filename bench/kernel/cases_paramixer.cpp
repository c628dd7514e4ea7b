// Paramixer's sparse factors on values [batch, n, d].
#include <bit>

#include "subquad/autograd/ops/chord_matmul.h"
#include "subquad/autograd/ops/factor_mlp.h"
#include "subquad/bench/kernel/case.h"

namespace subquad::bench {

namespace {

constexpr Index kCdilLinks = 9;  // as the official code

// ceil(log2 n), at least one
Index factors_of(Index n) {
  return std::max<Index>(1, std::bit_width(static_cast<std::uint64_t>(std::max<Index>(n, 1) - 1)));
}

std::vector<Links> links_of(const Settings& s, Index factors) {
  const std::string& protocol = s.text("protocol");
  std::vector<Links> links;
  for (Index m = 0; m < factors; ++m)
    if (protocol == "chord")
      links.push_back(kernels::chord_links(factors + 1));
    else if (protocol == "cdil")
      links.push_back(kernels::cdil_links(Index{1} << m, kCdilLinks));
    else if (protocol == "butterfly")
      links.push_back(kernels::butterfly_links(Index{1} << m));
    else
      throw Error(cat("--protocol is '", protocol, "', expected chord, cdil or butterfly"));
  return links;
}

// Weights are read once; values come in once and are written by each factor, which keeps V_1 ... V_{M-1} for backward.
Work product_work(const Variable& weights, const Variable& values, std::size_t factors, Index links,
                  std::function<Variable()> op) {
  const double positions = static_cast<double>(values.dim(0) * values.dim(1));
  const double rows = positions * static_cast<double>(factors);
  const auto width = static_cast<double>(values.dim(2)), entries = static_cast<double>(links);
  const double flops = 2 * rows * entries * width, each = static_cast<double>(dtype_bytes(values.dtype()));
  const double linked = rows * entries * width * each;  // rows of values; in backward for dvalues and for dweights
  return {.inputs = {{"weights", weights}, {"values", values}},
          .forward = [op = std::move(op)]() -> std::vector<Variable> { return {op()}; },
          .forward_count = {flops, (rows * (entries + width) + positions * width) * each, linked},
          .backward_count = {2 * flops, (rows * (2 * entries + width) + 2 * positions * width) * each, 2 * linked}};
}

Variable values_of(const Settings& s, const nn::Place& place) {
  return normal_input(place, "values", {s.size("batch"), s.size("n"), s.size("d")});
}

Work chord_matmul_work(const Settings& s, const nn::Place& place) {
  const Variable values = values_of(s, place);
  const Links links = links_of(s, factors_of(values.dim(1))).back();
  const Variable weights = normal_input(place, "weights", {values.dim(0), values.dim(1), links.count()});
  return product_work(weights, values, 1, links.count(), [=] { return chord_matmul(weights, values, links); });
}

Work chord_chain_work(const Settings& s, const nn::Place& place) {
  const Variable values = values_of(s, place);
  const std::vector<Links> links = links_of(s, factors_of(values.dim(1)));
  const auto factors = static_cast<Index>(links.size()), count = links[0].count();
  const Variable weights = normal_input(place, "weights", {factors, values.dim(0), values.dim(1), count});
  return product_work(weights, values, links.size(), count,
                      [=] { return chord_chain(weights, values, links, MixResidual::running); });
}

Work butterfly_matmul_work(const Settings& s, const nn::Place& place) {
  const Variable values = values_of(s, place);
  const Variable weights = normal_input(place, "weights", {values.dim(0), values.dim(1), 2});
  const Index distance = s.size("distance");
  return product_work(weights, values, 1, 2, [=] { return butterfly_matmul(weights, values, distance); });
}

// The link weights of all chord factors at once.
Work factor_mlp_work(const Settings& s, const nn::Place& place) {
  const Index batch = s.size("batch"), n = s.size("n"), d = s.size("d"), hidden = s.size("hidden");
  const Index factors = factors_of(n), outputs = factors + 1;
  const Variable x = normal_input(place, "x", {batch, n, d});
  const Variable first = normal_input(place, "first", {factors, d, hidden});
  const Variable first_bias = normal_input(place, "first_bias", {factors, hidden});
  const Variable second = normal_input(place, "second", {factors, hidden, outputs});
  const Variable second_bias = normal_input(place, "second_bias", {factors, outputs});
  const double flops = 2 * static_cast<double>(factors * batch * n) * static_cast<double>(hidden * (d + outputs));
  const double bytes = bytes_of({x.shape(), {factors, batch, n, outputs}}, place.dtype());
  return {.inputs = {{"x", x},
                     {"first", first},
                     {"first_bias", first_bias},
                     {"second", second},
                     {"second_bias", second_bias}},
          .forward = [=]() -> std::vector<Variable> { return {factor_mlp(x, first, first_bias, second, second_bias)}; },
          .forward_count = {flops, bytes},
          .backward_count = {2 * flops, 2 * bytes}};
}

}  // namespace

std::vector<Case> paramixer_cases() {
  const Setting n = {"n", "4096", "positions"}, d = {"d", "64", "features"}, batch = {"batch", "4", "samples"};
  const Setting protocol = {"protocol", "chord", "chord (log2 n + 1 links), cdil (9) or butterfly (2)"};
  return {
      {"chord_matmul", "one sparse factor, the one with the longest links", {n, d, batch, protocol}, chord_matmul_work},
      {"chord_chain", "log2 n sparse factors with the running residual", {n, d, batch, protocol}, chord_chain_work},
      {"butterfly_matmul",
       "a factor that links i and i XOR distance",
       {n, d, batch, {"distance", "64", "a power of two"}},
       butterfly_matmul_work},
      {"factor_mlp",
       "the perceptrons that make the link weights of log2 n chord factors, hidden values not stored",
       {n, d, batch, {"hidden", "32", "width of the hidden layers"}},
       factor_mlp_work}};
}

}  // namespace subquad::bench
