// What picks, moves and draws rows: tokens' vectors, real positions, noise on scores.
#include <numeric>

#include "subquad/autograd/ops/compact.h"
#include "subquad/autograd/ops/embedding.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/gumbel_noise/gumbel_noise.h"

namespace subquad::bench {

namespace {

Work embedding_work(const Settings& s, const nn::Place& place) {
  const Index vocabulary = s.size("vocabulary", 1), d = s.size("d");
  const Variable table = normal_input(place, "table", {vocabulary, d});
  Tensor numbers = empty({s.size("batch"), s.size("n")}, kInt64, kCpu);
  Rng rng(place.seed(), stream_id("ids"));
  for (std::int64_t& id : numbers.span<std::int64_t>()) id = rng.below(vocabulary);
  const Tensor ids = numbers.to(place.device());
  const auto rows = static_cast<double>(ids.size());
  const double bytes = bytes_of({ids.shape().inserted(2, d)}, place.dtype()) + 8 * rows;
  const double table_bytes = bytes_of({table.shape()}, place.dtype());
  return {.inputs = {{"table", table}, {"ids", Variable(ids)}},
          .forward = [=]() -> std::vector<Variable> { return {embedding(table, ids)}; },
          .forward_count = {rows * static_cast<double>(d), bytes + table_bytes},
          .backward_count = {rows * static_cast<double>(d), bytes + table_bytes}};
}

// Half of the positions, drawn at random, are real.
Work compact_work(const Settings& s, const nn::Place& place) {
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("n"), s.size("d")});
  Tensor drawn = empty({x.dim(0), x.dim(1)}, kBool, kCpu);
  Rng rng(place.seed(), stream_id("real"));
  double real = 0;
  for (bool& position : drawn.span<bool>()) real += position = rng.below(2) == 1;
  const Mask mask = Mask::from_bool(drawn).to(place.device());
  const double width = static_cast<double>(x.dim(2) * dtype_bytes(place.dtype()));
  const Count moved = {real * static_cast<double>(x.dim(2)) + 1,
                       real * width + bytes_of({x.shape()}, place.dtype()) + static_cast<double>(drawn.size())};
  return {.inputs = {{"x", x}, {"real", Variable(mask.real)}},
          .forward = [=]() -> std::vector<Variable> { return {compact(x, mask)}; },
          .forward_count = moved,
          .backward_count = moved};
}

// A logarithm of a logarithm of a random number for each element; nothing is read.
Work gumbel_noise_work(const Settings& s, const nn::Place& place) {
  const Shape shape = {s.size("batch"), s.size("heads"), s.size("n")};
  Tensor numbers = empty({shape[0]}, kInt64, kCpu);
  std::iota(numbers.data<Index>(), numbers.data<Index>() + shape[0], Index(0));
  const RandomState random = {.seed = place.seed(),
                              .stream = stream_id("noise"),
                              .step = full({1}, 1, kInt64, place.device()),
                              .samples = numbers.to(place.device())};
  return {.inputs = {{"step", Variable(random.step)}, {"samples", Variable(random.samples)}},
          .forward = [=, dtype = place.dtype()]() -> std::vector<Variable> {
            return {Variable(kernels::gumbel_noise(shape, dtype, random))};
          },
          .forward_count = {2 * static_cast<double>(shape.size()), bytes_of({shape}, place.dtype())},
          .backward_count = {}};
}

}  // namespace

std::vector<Case> move_cases() {
  const Setting n = {"n", "4096", "positions"}, d = {"d", "64", "features"}, batch = {"batch", "4", "samples"};
  std::vector<Case> cases = {
      {"embedding",
       "a row of a table for every token",
       {n, d, batch, {"vocabulary", "256", "rows of the table"}},
       embedding_work},
      {"compact", "the real half of the positions moved to the front", {n, d, batch}, compact_work},
      {"gumbel_noise", "noise on scores [batch, heads, n]", {n, batch, {"heads", "2", "heads"}}, gumbel_noise_work}};
  cases.back().has_backward = false;
  return cases;
}

}  // namespace subquad::bench
