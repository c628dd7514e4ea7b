#include "subquad/nn/parameter_arena.h"

#include "subquad/autograd/ops/reduce.h"
#include "subquad/nn/feed_forward.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

class Nothing : public Module {
 public:
  using Module::Module;
};

TEST_CASE("ParameterArena holds values and gradients of a model") {
  FeedForward model(test::place(kFloat32), {.width = 3, .hidden = 5});
  StateDict before;
  for (const auto& [name, value] : model.state_dict()) before.emplace(name, value.clone());
  ParameterArena arena(model);
  CHECK(arena.names() == std::vector<std::string>{"first.weight", "first.bias", "second.weight", "second.bias"});
  for (const auto& [name, value] : model.state_dict()) {
    CHECK(test::same_bits(value, before.at(name)));
    CHECK(value.shares_storage_with(arena.values()));
  }

  const Variable x(test::normal({2, 4, 3}, kFloat32, 1));
  backward(sum(model(x, {})));
  double total = 0;
  for (const Variable& p : model.parameters()) {
    CHECK(p.grad().shares_storage_with(arena.gradients()));
    total += test::at(sum(Variable(p.grad())).value(), 0);
  }
  CHECK(total != 0);
  CHECK(std::abs(total - test::at(sum(Variable(arena.gradients())).value(), 0)) < 1e-4);  // the gaps hold 0

  const Tensor once = arena.gradients().clone();
  backward(sum(model(x, {})));  // gradients add up until they are cleared
  const Tensor first = test::doubles(once), both = test::doubles(arena.gradients());
  for (Index i = 0; i < first.size(); ++i) CHECK(test::at(both, i) == 2 * test::at(first, i));
  arena.zero_grad();
  for (const Variable& p : model.parameters()) CHECK_CLOSE(p.grad(), zeros(p.shape(), kFloat64, kCpu), 0);

  model.load_state_dict(before);  // loading writes into the arena
  CHECK(model.parameters()[0].value().shares_storage_with(arena.values()));
}

TEST_CASE("ParameterArena refuses parameters of another arena, and gradients it would lose") {
  FeedForward model(test::place(kFloat32), {.width = 3, .hidden = 5});
  const ParameterArena arena(model);
  CHECK_THROWS_WITH_AS(ParameterArena{model},
                       "ParameterArena: first.weight already has a gradient, of another arena or of a backward before; "
                       "expected parameters that no arena holds",
                       Error);
  for (const Variable& p : model.parameters()) CHECK(p.value().shares_storage_with(arena.values()));

  FeedForward trained(test::place(kFloat32), {.width = 3, .hidden = 5});
  backward(sum(trained(Variable(test::normal({2, 4, 3}, kFloat32, 1)), {})));
  CHECK_THROWS_AS(ParameterArena{trained}, Error);
}

TEST_CASE("ParameterArena wants parameters") {
  Nothing model(test::place(kFloat32));
  CHECK_THROWS_WITH_AS(ParameterArena{model}, "ParameterArena: the model has no parameters", Error);
}

}  // namespace
}  // namespace subquad::nn
