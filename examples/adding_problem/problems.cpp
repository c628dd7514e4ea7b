#include "subquad/examples/adding_problem/problems.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "subquad/core/rng.h"
#include "subquad/nn/choice.h"

namespace subquad::adding_problem {

namespace {

constexpr nn::Choices<Problem, 2> kProblems = {{{"adding", Problem::adding}, {"order", Problem::order}}};

Rng rng_of(const Source& source, Set set, Index item) {
  return Rng(source.seed, stream_id(cat(problem_name(source.problem), ' ', static_cast<int>(set), ' ', item)));
}

std::pair<Index, Index> two_positions(Rng& rng, Index length) {
  const Index a = rng.below(length);
  Index b = rng.below(length - 1);
  if (b >= a) ++b;
  return std::minmax(a, b);
}

void draw_adding(Rng rng, View<float, 2> sequence, float& target) {
  const Index length = sequence.dim(0);
  for (Index t = 0; t < length; ++t) {
    sequence(t, 0) = static_cast<float>(1 - 2 * rng.uniform());
    sequence(t, 1) = 0;
  }
  const auto [p, q] = two_positions(rng, length);
  sequence(p, 1) = sequence(q, 1) = 1;
  target = 0.5F + (sequence(p, 0) + sequence(q, 0)) / 4;
}

void draw_order(Rng rng, View<std::int64_t, 1> symbols, std::int64_t& label) {
  for (Index t = 0; t < symbols.dim(0); ++t) symbols(t) = rng.below(4);
  const auto [p, q] = two_positions(rng, symbols.dim(0));
  const Index first = rng.below(2), second = rng.below(2);
  symbols(p) = 4 + first;
  symbols(q) = 4 + second;
  label = 2 * first + second;
}

}  // namespace

Problem parse_problem(std::string_view name) {
  return nn::choose("task", kProblems, name);
}

std::string_view problem_name(Problem problem) {
  return nn::name_of(kProblems, problem);
}

bool on_plateau(double loss) {
  return std::abs(loss / kPlateauLoss - 1) < 0.1;
}

Items Source::items(Set set, Index first, Index count) const {
  if (length < 2) throw Error(cat("adding_problem: length is ", length, ", expected at least 2"));
  Items items;
  if (problem == Problem::adding) {
    items = {empty({count, length, 2}, kFloat32, kCpu), empty({count, 1}, kFloat32, kCpu)};
    for (Index i = 0; i < count; ++i)
      draw_adding(rng_of(*this, set, first + i), items.inputs.select(0, i).view<float, 2>(),
                  items.targets.data<float>()[i]);
  } else {
    items = {empty({count, length}, kInt64, kCpu), empty({count}, kInt64, kCpu)};
    for (Index i = 0; i < count; ++i)
      draw_order(rng_of(*this, set, first + i), items.inputs.select(0, i).view<std::int64_t, 1>(),
                 items.targets.data<std::int64_t>()[i]);
  }
  return items;
}

}  // namespace subquad::adding_problem
