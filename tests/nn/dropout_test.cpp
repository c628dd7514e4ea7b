#include "subquad/nn/dropout.h"

#include <cmath>

#include "subquad/autograd/ops/dropout.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

using kernels::Activation;
using test::place;
using test::random_state;

class TwoDropouts : public Module {
 public:
  explicit TwoDropouts(const Place& place) : Module(place), a(child("a"), 0.25), b(child("b"), 0.25) {}
  Dropout a, b;
};

TEST_CASE("Dropout keeps three quarters and scales them") {
  const Dropout layer(place(kFloat32), 0.25);
  const Variable x(full({8, 50, 60}, 3, kFloat32, test::device()));
  Index kept = 0;
  const Tensor out = layer(x, random_state(8)).value().to(kCpu).contiguous();
  for (const float value : out.span<float>()) {
    CHECK((value == 0 || value == 4));
    kept += value != 0;
  }
  CHECK(std::fabs(static_cast<double>(kept) - 18000) < 4 * std::sqrt(24000 * 0.25 * 0.75));
}

TEST_CASE("Dropout draws from the stream of its path") {
  const TwoDropouts model(place(kFloat32)), again(place(kFloat32));
  const Variable x(test::normal({2, 5, 16}, kFloat32, 1));
  const Tensor a = model.a(x, random_state(2)).value();
  CHECK(test::same_bits(a, again.a(x, random_state(2)).value()));
  CHECK(test::same_bits(a, dropout(x, 0.25, random_state(2).with_stream(stream_id("a"))).value()));
  CHECK_FALSE(test::same_bits(a, model.b(x, random_state(2)).value()));
  CHECK_FALSE(test::same_bits(a, model.a(x, random_state(2, 2)).value()));     // another step
  CHECK_FALSE(test::same_bits(a, model.a(x, random_state(2, 1, 7)).value()));  // other samples
}

TEST_CASE("Dropout is the identity in eval and with p = 0") {
  Dropout layer(place(kFloat32), 0.25);
  const Dropout never(place(kFloat32), 0);
  const Variable x(test::normal({2, 5, 16}, kFloat32, 1));
  CHECK(test::same_bits(never(x, {}).value(), x.value()));
  layer.eval();
  CHECK(test::same_bits(layer(x, {}).value(), x.value()));
  const Linear map(place(kFloat32), 16, 4);
  CHECK_CLOSE(layer.after(map, x, Activation::relu, {}).value(), relu(map(x)).value(),
              test::dot_tolerance(kFloat32, 16));
}

TEST_CASE("Dropout after a linear map, an activation and before a residual equals the steps one by one") {
  const Dropout layer(place(kFloat32), 0.25);
  const Linear map(place(kFloat32), 16, 8);
  test::randomise(map);
  const Variable x(test::normal({2, 5, 16}, kFloat32, 1)), residual(test::normal({2, 5, 8}, kFloat32, 2));
  const RandomState rng = random_state(2);
  CHECK_CLOSE(layer.after(map, x, Activation::gelu, rng, residual).value(),
              add(layer(gelu(map(x)), rng), residual).value(), test::dot_tolerance(kFloat32, 16));
}

TEST_CASE("Dropout gradients") {
  const Dropout layer(test::place(kFloat64), 0.25);
  const auto f = [&](const auto& in) { return layer(in[0], random_state(2)); };
  CHECK_MODULE_GRADIENTS(layer, f, {test::leaf({2, 3, 5}, 1)});
  const Linear map(test::place(kFloat64), 5, 4);
  const auto after = [&](const auto& in) { return layer.after(map, in[0], Activation::gelu, random_state(2)); };
  CHECK_MODULE_GRADIENTS(map, after, {test::leaf({2, 3, 5}, 1)});
}

TEST_CASE("Dropout names a bad rate and a missing RandomState") {
  CHECK_THROWS_WITH_AS(Dropout(place(kFloat32), 1), "dropout: p of '' is 1, expected 0 <= p < 1", Error);
  CHECK_THROWS_AS(Dropout(place(kFloat32), std::nan("")), Error);
  const TwoDropouts model(place(kFloat32));
  CHECK_THROWS_WITH_AS(model.b(Variable(zeros({1, 1, 4}, kFloat32, test::device())), {}),
                       "dropout: 'b' with p = 0.25 is training and needs a RandomState, which is undefined", Error);
}

}  // namespace
}  // namespace subquad::nn
