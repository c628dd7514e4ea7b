// The engine on one screen: make values, differentiate, check a gradient by hand, fit a small model, look at the graph.
#include <cmath>
#include <iostream>
#include <vector>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/elementwise/elementwise.h"

using namespace subquad;

namespace {

// 1. A Tensor is an array; a Variable is a tensor that remembers how it was computed. backward() walks that graph.
void differentiate() {
  Variable x(tensor<double>({1, 2, 3}, {3}), /*requires_grad=*/true);
  const Variable y = sum(mul(x, tanh(x)));  // y = sum_i x_i tanh(x_i)
  backward(y);
  std::cout << "y     = " << y.value() << "\ndy/dx = " << x.grad() << "\n";

  // 2. The same derivative from two values of y, a small step apart.
  const double h = 1e-6;
  const auto f = [](double v) { return v * std::tanh(v); };
  std::cout << "by differences: " << (f(2 + h) - f(2 - h)) / (2 * h) << " for the second element\n\n";
}

Variable parameter(const char* name, const Shape& shape, double deviation) {
  Tensor value = empty(shape, kFloat32, kCpu);
  fill_normal(value, 0, deviation, /*seed=*/1, stream_id(name));  // the same numbers in every run, on any machine
  Variable v(value, true);
  v.set_name(name);
  return v;
}

// 3. Fit sin(x) with one hidden layer. Gradients add up until they are zeroed.
void fit() {
  const Index samples = 64, hidden = 16;
  Tensor inputs = empty({samples, 1}, kFloat32, kCpu), targets = empty({samples, 1}, kFloat32, kCpu);
  for (Index i = 0; i < samples; ++i) {
    inputs.data<float>()[i] = -3 + 6 * static_cast<float>(i) / (samples - 1);
    targets.data<float>()[i] = std::sin(inputs.data<float>()[i]);
  }
  std::vector<Variable> parameters = {parameter("w1", {1, hidden}, 1), parameter("b1", {hidden}, 1),
                                      parameter("w2", {hidden, 1}, 0.3), parameter("b2", {1}, 0.3)};
  const auto loss_of = [&] {
    const Variable h = tanh(linear(Variable(inputs), parameters[0], parameters[1]));  // [samples, hidden]
    const Variable out = linear(h, parameters[2], parameters[3]);                     // [samples, 1]
    return mean(square(sub(out, Variable(targets))));
  };
  for (int step = 0; step <= 2000; ++step) {
    for (Variable& p : parameters) p.zero_grad();
    const Variable loss = loss_of();
    backward(loss);
    for (Variable& p : parameters) kernels::axpy_into(p.mutable_value(), -0.1, p.grad());
    if (step % 500 == 0) std::cout << "step " << step << "   loss " << loss.value().item<float>() << "\n";
  }

  // 4. The graph of one evaluation, for Graphviz: ./hello_autograd | sed -n '/^digraph/,$p' | dot -Tsvg > graph.svg
  std::cout << "\n";
  to_dot(loss_of(), std::cout);
}

}  // namespace

int main() {
  differentiate();
  fit();
}
