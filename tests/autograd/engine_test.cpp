// The engine itself: graphs, walks, versions, modes. Ops have their own tests in tests/autograd/ops/.
#include <doctest/doctest.h>

#include <cmath>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/core/allocator.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;
using test::here;
using test::normal;

Variable scalar(double value, bool requires_grad = true) {
  return Variable(here(tensor<double>({value}, {1})), requires_grad);
}

double value_of(const Tensor& t) {
  return t.item<double>();
}

// Two outputs, x + 1 and 2 x: a node whose backward sees two upstream gradients.
std::vector<Variable> plus_and_twice(const Variable& x) {
  return record("plus_and_twice", {kernels::add_scalar(x.value(), 1), kernels::mul_scalar(x.value(), 2)}, {x},
                [](std::span<const Tensor> douts, Grads& grads) {
                  Tensor dx;
                  if (douts[0].defined()) dx = douts[0];
                  if (douts[1].defined()) {
                    const Tensor twice = kernels::mul_scalar(douts[1], 2);
                    dx = dx.defined() ? kernels::add(dx, twice) : twice;
                  }
                  grads.add(0, dx);
                });
}

TEST_CASE("backward follows the chain rule through a diamond") {
  const Variable x = scalar(3);
  const Variable y = mul(x, x);
  const Variable z = add(mul(y, y), y);  // x^4 + x^2: gradient 4 x^3 + 2 x
  backward(z);
  CHECK_EQ(value_of(x.grad()), 4 * 27 + 6);
}

TEST_CASE("gradients that lie alike in memory are added as they lie") {
  const Tensor a = normal({3, 2, 4}, kFloat64, 2), b = normal({3, 2, 4}, kFloat64, 3);
  const Variable x(normal({2, 3, 4}, kFloat64, 1), true);
  Tensor arrived;
  const Variable h = record("probe", x.value(), {x}, [&](const Tensor& dout, Grads& grads) {
    arrived = dout;
    grads.add(0, dout);
  });
  backward(add(sum(mul(transpose(h, 0, 1), Variable(a))), sum(mul(transpose(h, 0, 1), Variable(b)))));
  CHECK(arrived.transpose(0, 1).is_contiguous());
  CHECK_CLOSE(x.grad().transpose(0, 1), kernels::add(a, b), 0);
}

TEST_CASE("a second backward adds to the gradient") {
  const Variable x = scalar(2);
  backward(mul(x, x));
  backward(mul(x, x));
  CHECK_EQ(value_of(x.grad()), 8);
  Variable(x).zero_grad();
  CHECK_EQ(value_of(x.grad()), 0);
}

// x, whose gradient comes as three parts [3, shape] that add up to 6 dout.
Variable in_parts(const Variable& x) {
  return record("in_parts", x.value(), {x}, [](const Tensor& dout, Grads& grads) {
    Tensor parts = empty(dout.shape().inserted(0, 3), dout.dtype(), dout.device());
    for (Index p = 0; p < 3; ++p) {
      Tensor part = parts.select(0, p);
      copy(kernels::mul_scalar(dout, static_cast<double>(p + 1)), part);
    }
    grads.add_parts(0, parts);
  });
}

TEST_CASE("gradients that come in parts are added up, wherever they go") {
  const Tensor values = normal({4, 3}, kFloat64, 1), up = normal({4, 3}, kFloat64, 2);
  const auto times = [&](double factor) { return kernels::mul_scalar(up, factor); };
  Variable leaf(values, true);
  backward(in_parts(leaf), up);
  CHECK_CLOSE(leaf.grad(), times(6), 1e-14);
  backward(add(in_parts(leaf), leaf), up);  // a whole one joins the parts, and both the slot
  CHECK_CLOSE(leaf.grad(), times(13), 1e-14);
  backward(add(in_parts(leaf), in_parts(leaf)), up);
  CHECK_CLOSE(leaf.grad(), times(25), 1e-14);
  const Variable inner = mul_scalar(leaf, 2);
  CHECK_CLOSE(grad({in_parts(inner)}, {inner}, {up})[0], times(6), 1e-14);
  CHECK_CLOSE(grad({in_parts(leaf)}, {leaf}, {up})[0], times(6), 1e-14);
  leaf.zero_grad();
  backward(checkpoint([&](const std::vector<Variable>& in) { return mul(in_parts(leaf), in[0]); },
                      {Variable(full({4, 3}, 2, kFloat64, device()))}),
           up);
  CHECK_CLOSE(leaf.grad(), times(12), 1e-14);
}

TEST_CASE("a backward that fails leaves every leaf's gradient as it was") {
  Variable x = scalar(1), y = scalar(2);
  backward(add(x, y));
  const Variable bad = record("bad", y.value(), {y}, [](const Tensor&, Grads&) { throw Error("no way back"); });
  CHECK_THROWS_WITH_AS(backward(add(bad, x)), "backward of bad: no way back", Error);
  CHECK_EQ(value_of(x.grad()), 1);
  CHECK_EQ(value_of(y.grad()), 1);
}

TEST_CASE("a node with two outputs gets both gradients, or one") {
  const Variable x = scalar(5);
  const auto both = plus_and_twice(x);
  backward(mul(both[0], both[1]));  // (x + 1) 2 x: gradient 4 x + 2
  CHECK_EQ(value_of(x.grad()), 22);

  const Variable w = scalar(5);
  backward(plus_and_twice(w)[1]);
  CHECK_EQ(value_of(w.grad()), 2);
}

TEST_SUITE("cpu") {  // 400,000 launches elsewhere
  TEST_CASE("a graph of 100,000 nodes neither walks nor dies recursively") {
    const Variable x = scalar(1);
    {
      Variable y = x;
      for (int i = 0; i < 100'000; ++i) y = add_scalar(y, 1e-5);
      backward(y);
      CHECK_EQ(value_of(x.grad()), 1);
      Variable again = x;
      for (int i = 0; i < 100'000; ++i) again = add_scalar(again, 1e-5);  // dies without having been walked
    }
  }
}

TEST_CASE("backward frees what it has used") {
  const std::size_t before = memory_stats(device()).current_bytes;
  const Variable x(test::normal({64, 64}, kFloat64, 1), true);
  const std::size_t leaf_bytes = memory_stats(device()).current_bytes - before;
  const Variable y = sum(mul(exp(x), exp(x)));
  CHECK_GT(memory_stats(device()).current_bytes, before + 2 * leaf_bytes);
  backward(y);
  // What is left: x, its gradient, and the scalar.
  CHECK_LE(memory_stats(device()).current_bytes, before + 2 * leaf_bytes + 64);
}

TEST_CASE("a graph can be walked once, unless it is kept") {
  const Variable x = scalar(2);
  const Variable y = mul(x, x);
  backward(y, {}, {.keep_graph = true});
  backward(y);
  CHECK_EQ(value_of(x.grad()), 8);
  CHECK_THROWS_WITH_AS(
      backward(y),
      "backward of mul: this part of the graph was walked before and is gone; use keep_graph to walk it twice", Error);
}

TEST_CASE("grad returns gradients of leaves and inner values and touches no leaf") {
  const Variable x = scalar(3), unused = scalar(1);
  const Variable y = mul(x, x);
  const Variable z = mul(y, y);
  const auto grads = grad({z}, {x, y, unused});
  CHECK_EQ(value_of(grads[0]), 4 * 27);
  CHECK_EQ(value_of(grads[1]), 18);
  CHECK_EQ(value_of(grads[2]), 0);
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("grad returns tensors that share nothing") {
  const Variable a = test::leaf({3}, 1), b = test::leaf({3}, 2);
  const Tensor upstream = test::normal({3}, kFloat64, 3);
  const auto grads = grad({add(a, b)}, {a, b}, {upstream});
  CHECK_FALSE(grads[0].shares_storage_with(grads[1]));
  CHECK_FALSE(grads[0].shares_storage_with(upstream));
  CHECK(grad({sum(a)}, {a})[0].is_contiguous());
}

TEST_CASE("grad copies only what is shared") {
  const Variable x = test::leaf({2, 3, 5}, 4);
  const Tensor above = test::normal({3, 2, 5}, kFloat64, 5);
  const Tensor moved = grad({mul_scalar(transpose(x, 0, 1), 2)}, {x}, {above})[0];  // lies as `above` does
  CHECK_FALSE(moved.is_contiguous());
  CHECK(moved.is_alone());
  CHECK_CLOSE(moved, kernels::mul_scalar(above.transpose(0, 1), 2), 0);
  const Tensor passed = grad({add_scalar(x, 1)}, {x}, {above.transpose(0, 1)})[0];
  CHECK_FALSE(passed.shares_storage_with(above));
  CHECK_CLOSE(passed, above.transpose(0, 1), 0);
}

TEST_CASE("grad sums over several outputs with their upstream gradients") {
  const Variable x = scalar(3);
  const auto grads =
      grad({mul(x, x), mul_scalar(x, 5)}, {x}, {here(tensor<double>({10.0}, {1})), here(tensor<double>({100.0}, {1}))});
  CHECK_EQ(value_of(grads[0]), 10 * 6 + 100 * 5);
}

TEST_CASE("retain_grad keeps an inner value's gradient") {
  const Variable x = scalar(3);
  Variable y = mul(x, x);
  y.retain_grad();
  backward(mul(y, y));
  CHECK_EQ(value_of(y.grad()), 18);
}

TEST_CASE("NoGrad records nothing, EnableGrad records inside it") {
  const Variable x = scalar(3);
  {
    const NoGrad no_grad;
    CHECK_FALSE(mul(x, x).requires_grad());
    const EnableGrad enable;
    CHECK(mul(x, x).requires_grad());
  }
  CHECK(mul(x, x).requires_grad());
  CHECK_FALSE(mul(scalar(1, false), scalar(2, false)).requires_grad());
}

TEST_CASE("a saved tensor that was written to is an error that names the op") {
  Variable x = scalar(3);
  const Variable y = mul(x, x);
  const std::uint32_t version = x.value().version();  // being copied to a device counts as a write
  kernels::scale_into(x.mutable_value(), 2);
  CHECK_THROWS_WITH_AS(backward(y),
                       cat("backward of mul: a tensor saved for backward was changed in place since ([1] float64 ",
                           device(), ", version ", version, " then, ", version + 1, " now)")
                           .c_str(),
                       Error);
}

TEST_CASE("gradients are added into a bound tensor") {
  Tensor arena = zeros({4}, kFloat64, device());
  Variable x = scalar(3);
  x.bind_grad(arena.slice(0, 2, 3));
  backward(mul(x, x));
  backward(mul(x, x));
  CHECK_EQ(test::at(arena, 2), 12);
  CHECK_EQ(test::at(arena, 1), 0);
}

TEST_CASE("backward complains about what it cannot do") {
  CHECK_THROWS_WITH_AS(backward(scalar(1, false)),
                       "backward: the output does not depend on anything that requires a gradient", Error);
  const Variable x(test::normal({2, 3}, kFloat64, 1), true);
  CHECK_THROWS_WITH_AS(backward(exp(x)),
                       cat("backward: output is [2, 3] float64 ", device(),
                           "; only an output of one element can go without an upstream gradient")
                           .c_str(),
                       ShapeError);
  CHECK_THROWS_WITH_AS(backward(exp(x), zeros({3, 2}, kFloat64, device())),
                       cat("backward: upstream is [3, 2] float64 ", device(), ", expected shape [2, 3]").c_str(),
                       ShapeError);
}

TEST_CASE("a wrong backward function is our own error, not the caller's") {
  const Variable x(test::normal({2, 3}, kFloat64, 1), true);
  const Variable y =
      record("broken", x.value(), {x}, [](const Tensor& dout, Grads& grads) { grads.add(0, dout.transpose(0, 1)); });
  CHECK_THROWS_AS(backward(sum(y)), InternalError);
}

TEST_CASE("checkpoint gives the same gradients, of captured parameters too") {
  const Variable x = test::leaf({5}, 1), w = test::leaf({5}, 2);
  const auto layer = [&](const std::vector<Variable>& in) { return mul(exp(mul(in[0], w)), in[0]); };
  const auto plain = grad({sum(layer({x}))}, {x, w});
  const auto saved = grad({sum(checkpoint(layer, {x}))}, {x, w});
  CHECK(test::same_bits(plain[0], saved[0]));
  CHECK(test::same_bits(plain[1], saved[1]));

  backward(sum(checkpoint(layer, {checkpoint(layer, {x})})));  // nested: through a checkpoint into another
  const auto twice = grad({sum(layer({layer({x})}))}, {x, w});
  CHECK(test::same_bits(twice[0], x.grad()));
  CHECK_CLOSE(w.grad(), twice[1], 1e-14);

  const Variable data(x.value());  // nothing of the inputs requires a gradient, only what the function captured
  const auto only_w = grad({sum(checkpoint(layer, {data}))}, {w});
  CHECK(test::same_bits(only_w[0], plain[1]));
}

TEST_CASE("checkpoint refuses inner values that are not among its inputs") {
  const Variable x = test::leaf({5}, 1);
  const Variable inner = exp(x);
  const Variable y = sum(checkpoint([&](const std::vector<Variable>& in) { return mul(in[0], inner); }, {x}));
  CHECK_THROWS_WITH_AS(backward(y),
                       "backward of checkpoint: checkpoint: its function uses a result of exp from outside; pass it as "
                       "one of the inputs",
                       Error);
}

TEST_CASE("checkpoint keeps no intermediates") {
  const Variable x(test::normal({1000}, kFloat64, 1), true);
  const auto layer = [](const std::vector<Variable>& in) { return exp(exp(exp(in[0]))); };
  const std::size_t before = memory_stats(device()).current_bytes;
  const Variable y = checkpoint(layer, {x});
  CHECK_EQ(memory_stats(device()).current_bytes - before, 8000);
}

TEST_CASE("detect_anomaly names the op that made the first NaN") {
  const DetectAnomaly detect;
  const ModuleScope outer("encoder");
  const ModuleScope inner("layer.0");
  const Variable x(here(tensor<double>({1.0, -1.0}, {2})), true);
  CHECK_THROWS_WITH_AS(exp(sqrt(x)),
                       cat("detect_anomaly: sqrt in encoder.layer.0 made nan at element 1 of [2] float64 ", device(),
                           " from finite inputs")
                           .c_str(),
                       Error);
  const Variable bad(here(tensor<double>({NAN}, {1})), true);
  CHECK_THROWS_WITH_AS(
      exp(bad),
      cat("detect_anomaly: exp in encoder.layer.0 was given nan at element 0 of [1] float64 ", device(), " as input 0")
          .c_str(),
      Error);
}

TEST_CASE("detect_anomaly lets the logarithm of zero pass, and blames what makes a NaN of it") {
  const DetectAnomaly detect;
  const Variable impossible = log(scalar(0));
  CHECK(std::isinf(value_of(impossible.value())));
  CHECK_THROWS_WITH_AS(
      sub(impossible, impossible),
      cat("detect_anomaly: sub made nan at element 0 of [1] float64 ", device(), " from finite inputs").c_str(), Error);
}

TEST_CASE("detect_anomaly looks at gradients") {
  const Variable x(here(tensor<double>({4.0, 0.0}, {2})), true);
  const Variable y = sum(sqrt(x));  // the slope at 0 is infinite
  const DetectAnomaly detect;
  CHECK_THROWS_WITH_AS(backward(y),
                       cat("detect_anomaly: backward of sqrt made inf at element 1 of [2] float64 ", device(),
                           " as the gradient of input 0")
                           .c_str(),
                       Error);
}

TEST_CASE("detect_anomaly knows the module of what a checkpoint runs again") {
  const Variable x(here(tensor<double>({4.0, 0.0}, {2})), true);
  const auto root = [](const std::vector<Variable>& in) { return sqrt(in[0]); };
  const auto in_encoder = [&] {
    const ModuleScope scope("encoder");
    return checkpoint(root, {x});
  };
  const Variable y = sum(in_encoder());
  const DetectAnomaly detect;
  CHECK_THROWS_WITH_AS(backward(y), doctest::Contains("backward of sqrt in encoder made inf"), Error);
}

TEST_CASE("to_dot draws ops and named leaves") {
  Variable x = scalar(3);
  x.set_name("weight");
  std::ostringstream out;
  to_dot(mul(x, x), out);
  CHECK_EQ(out.str(),
           "digraph subquad {\n  rankdir=BT;\n  node [fontname=\"monospace\"];\n"
           "  out [shape=plaintext, label=\"[1]\"];\n"
           "  op0 -> out;\n"
           "  op0 [shape=box, label=\"mul\"];\n"
           "  leaf0 [shape=ellipse, style=filled, fillcolor=\"#e8f0fe\", label=\"weight\\n[1]\"];\n"
           "  leaf0 -> op0 [label=\"[1]\"];\n"
           "  leaf0 -> op0 [label=\"[1]\"];\n"
           "}\n");
}

TEST_CASE("gradcheck passes a right gradient and finds a wrong one") {
  const auto right = [](const std::vector<Variable>& in) { return std::vector{mul(exp(in[0]), in[1])}; };
  CHECK_GRADIENTS(right, {test::leaf({3, 4}, 1), test::leaf({4}, 2)});
  CHECK_GRADIENTS(right, {test::leaf({30, 40}, 1), test::leaf({40}, 2)});

  const auto wrong = [](const std::vector<Variable>& in) {
    return std::vector{record("wrong", kernels::exp(in[0].value()), {in[0]},
                              [](const Tensor& dout, Grads& grads) { grads.add(0, dout); })};
  };
  CHECK_FALSE(gradcheck(wrong, {test::leaf({3}, 1)}).passed);
  CHECK_FALSE(gradcheck(wrong, {test::leaf({300}, 1)}).passed);

  const auto small = [](const std::vector<Variable>& in) {
    return std::vector{record("small", kernels::mul_scalar(kernels::exp(in[0].value()), 1e-7), {in[0]},
                              [](const Tensor& dout, Grads& grads) { grads.add(0, zeros_like(dout)); })};
  };
  CHECK_FALSE(gradcheck(small, {test::leaf({3}, 1)}).passed);  // relative error: small gradients count as well

  const auto nan = [](const std::vector<Variable>& in) {
    return std::vector{record("nan", kernels::exp(in[0].value()), {in[0]},
                              [](const Tensor& dout, Grads& grads) { grads.add(0, kernels::mul_scalar(dout, NAN)); })};
  };
  CHECK_FALSE(gradcheck(nan, {test::leaf({3}, 1)}).passed);
}

}  // namespace
}  // namespace subquad
