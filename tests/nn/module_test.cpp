#include "subquad/nn/module.h"

#include "subquad/nn/feed_forward.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

using test::place;

// Two members, made in either order, and a parameter of its own.
class Pair : public Module {
 public:
  Pair(const Place& place, bool swapped) : Module(place), scale(parameter("scale", {2}, normal_init(1))) {
    if (!swapped) first = std::make_unique<Linear>(child("first"), 3, 2);
    second = std::make_unique<FeedForward>(child("second"), FeedForwardConfig{.width = 2, .hidden = 4});
    if (swapped) first = std::make_unique<Linear>(child("first"), 3, 2);
  }
  Variable repeat_parameter() { return parameter("scale", {2}, zeros_init()); }
  Place repeat_child() { return child("second"); }
  Variable add_parameter(const std::string& name) { return parameter(name, {1}, zeros_init()); }
  Place place(const std::string& name) { return child(name); }

  Variable scale;
  std::unique_ptr<Linear> first;
  std::unique_ptr<FeedForward> second;
};

TEST_CASE("Module names its parameters by path") {
  const Pair pair(place(kFloat32), false);
  std::vector<std::string> names;
  for (const Variable& v : pair.parameters()) names.push_back(v.name());
  CHECK(names == std::vector<std::string>{"scale", "first.weight", "first.bias", "second.first.weight",
                                          "second.first.bias", "second.second.weight", "second.second.bias"});
  CHECK(pair.parameter_count() == 2 + 3 * 2 + 2 + (2 * 4 + 4) + (4 * 2 + 2));
  CHECK(pair.path() == "");
  CHECK(pair.second->path() == "second");
  CHECK(pair.dtype() == kFloat32);
}

TEST_CASE("Module draws initial values from seed and name alone") {
  const Pair a(place(kFloat32), false), b(place(kFloat32), true), other(test::place(kFloat32, 12), false);
  const StateDict x = a.state_dict(), y = b.state_dict(), z = other.state_dict();
  REQUIRE(x.size() == 7);
  for (const auto& [name, value] : x) CHECK(test::same_bits(value, y.at(name)));
  CHECK_FALSE(test::same_bits(x.at("first.weight"), z.at("first.weight")));
  CHECK_FALSE(test::same_bits(x.at("second.first.weight").reshape({4, 2}), x.at("second.second.weight")));
}

TEST_CASE("Module refuses a name used twice") {
  Pair pair(place(kFloat32), false);
  CHECK_THROWS_AS(pair.repeat_parameter(), InternalError);
  CHECK_THROWS_AS(pair.repeat_child(), InternalError);
}

TEST_CASE("Module refuses one full name for two parameters, wherever the dots stand") {
  Pair pair(place(kFloat32), false);
  CHECK_THROWS_WITH_AS(pair.add_parameter("second.first.bias"),
                       doctest::Contains("the model has two parameters 'second.first.bias'"), InternalError);
  CHECK_THROWS_AS(Linear(pair.place("second.first"), 2, 2), InternalError);
  CHECK(pair.parameters().size() == 7);
}

TEST_CASE("Module forgets a member that went away") {
  Pair pair(place(kFloat32), false);
  pair.first.reset();
  CHECK(pair.parameters().size() == 5);
}

TEST_CASE("Module switches all of its members between training and evaluation") {
  Pair pair(place(kFloat32), false);
  CHECK(pair.second->training());
  pair.eval();
  CHECK_FALSE(pair.training());
  CHECK_FALSE(pair.second->training());
  pair.train();
  CHECK(pair.second->training());
}

TEST_CASE("state_dict shares storage, loading copies into it") {
  Pair from(place(kFloat32), false), into(test::place(kFloat32, 12), false);
  StateDict saved;
  for (const auto& [name, value] : from.state_dict()) saved.emplace(name, value.clone());
  const Tensor handle = into.scale.value();
  into.load_state_dict(saved);
  CHECK(test::same_bits(handle, from.scale.value()));
  CHECK_FALSE(handle.shares_storage_with(saved.at("scale")));
  CHECK(into.state_dict().at("scale").shares_storage_with(handle));
  CHECK(into.second->state_dict().contains("first.weight"));  // names are relative to the module that is asked
}

TEST_CASE("load_state_dict tells all that differs") {
  Pair pair(place(kFloat32), false);
  StateDict state;
  for (const auto& [name, value] : pair.state_dict()) state.emplace(name, value.clone());
  const Tensor before = pair.scale.value().clone();
  state.at("scale") = zeros({2}, kFloat32, test::device());

  StateDict missing = state;
  missing.erase("first.bias");
  CHECK_THROWS_WITH_AS(pair.load_state_dict(missing), "load_state_dict: 1 missing (first.bias)", Error);

  StateDict mixed = missing;
  mixed.erase("first.weight");
  mixed["third.weight"] = zeros({1}, kFloat32, kCpu);
  mixed["second.first.bias"] = zeros({5}, kFloat32, kCpu);
  mixed["second.second.bias"] = zeros({2}, kFloat64, kCpu);
  CHECK_THROWS_WITH_AS(pair.load_state_dict(mixed),
                       "load_state_dict: 2 missing (first.bias, first.weight); 1 unexpected (third.weight); "
                       "2 of another shape or dtype (second.first.bias is [5] float32, expected [4] float32, "
                       "second.second.bias is [2] float64, expected [2] float32)",
                       Error);
  CHECK_THROWS_WITH_AS(
      pair.load_state_dict({}),
      "load_state_dict: 7 missing (first.bias, first.weight, scale, second.first.bias, second.first.weight and 2 more)",
      Error);
  CHECK(test::same_bits(pair.scale.value(), before));  // nothing was copied
}

}  // namespace
}  // namespace subquad::nn
