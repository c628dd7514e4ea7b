// How much an encoder layer asks of a GPU in training: recorded operations, which are kernels, products and copies.
#include "subquad/autograd/backward.h"
#include "subquad/core/graph.h"
#include "subquad/nn/encoder.h"
#include "subquad/nn/parameter_arena.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

struct Launches {
  std::size_t forward, backward;
};

// Of one layer on a masked batch, in training with dropout; the gradients go to an arena.
Launches launches_of(const AttentionConfig& attention) {
  const Index positions = 40;
  EncoderLayer layer(test::place(kFloat32), {.attention = attention, .hidden = 16, .dropout = 0.1});
  ParameterArena arena(layer);
  const RandomState rng = test::random_state(2);
  const Mask mask = test::prefix_mask({positions, 23}, positions);
  const Variable x(test::normal({2, positions, attention.width}, kFloat32, 1), true);
  const Tensor upstream = test::normal(x.shape(), kFloat32, 2);
  const auto step = [&] { backward(layer(x, mask, rng), upstream); };
  step();  // makes handles and caches
  synchronize(test::device());
  const std::size_t forward = Graph::capture(test::device(), [&] { layer(x, mask, rng); }).size();
  return {forward, Graph::capture(test::device(), step).size() - forward};
}

TEST_SUITE("cuda") {
  TEST_CASE("launches of an encoder layer with each attention") {
    for (const std::string& kind : attention_kinds(DeviceType::cuda)) {
      CAPTURE(kind);
      const Launches launches = launches_of({.kind = kind, .width = 8, .heads = 2, .max_length = 40, .dropout = 0.1});
      MESSAGE(kind, ": ", launches.forward, " ", launches.backward);
      // fsat: beside the attention itself two more projections, their cross, its scores and the choice by them
      CHECK_LE(launches.forward, kind == "fsat" ? 17 : 15);
      // combiner: q, k and v get gradients from pools and local expectations, too, which are added up one by one
      CHECK_LE(launches.backward, kind == "combiner" ? 30 : kind == "fsat" ? 29 : 25);
    }
  }
}

}  // namespace
}  // namespace subquad::nn
