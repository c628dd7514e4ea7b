// Fits y = 2 x + 1 with the installed library: a module, its gradient and an optimiser.
#include <cstdio>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/nn/linear.h"
#include "subquad/nn/optim/adamw.h"

int main() {
  using namespace subquad;
  const Variable x(tensor<float>({-1, 0, 1, 2}, {4, 1}));
  const Variable y(tensor<float>({-1, 1, 3, 5}, {4, 1}));

  nn::Linear model(nn::Place(1, kFloat32, kCpu), 1, 1);
  nn::ParameterArena parameters(model);
  nn::AdamW optimizer(parameters, {});
  optimizer.set_rate(0.05);

  double last = 0;
  for (int step = 0; step < 500; ++step) {
    parameters.zero_grad();
    const Variable loss = mean(square(sub(model(x), y)));
    backward(loss);
    optimizer.step();
    last = loss.value().item<float>();
  }
  std::printf("consumer: loss %.2g after 500 steps, expected less than 1e-3\n", last);
  return last < 1e-3 ? 0 : 1;
}
