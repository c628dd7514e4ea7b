// What backward does, step by step, on four nodes: y = sum(tanh(w x) x), where x has two uses.
//
//   watch_backward         each value as it is made, then each gradient as backward hands it on
//   watch_backward --dot   the graph in Graphviz's language: autograd/engine.dot
#include <functional>
#include <iostream>
#include <string_view>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"

using namespace subquad;

using Pass = std::function<Variable(const char* name, const Variable& v)>;

Variable example(const Variable& x, const Variable& w, const Pass& pass) {
  const Variable h = pass("h", mul(w, pass("x, first use", x)));
  const Variable t = pass("t", tanh(h));
  const Variable p = pass("p", mul(t, pass("x, second use", x)));
  return pass("y", sum(p));
}

// A node that changes nothing: its backward hands on what it is given, and says so.
Variable watched(const char* name, const Variable& v) {
  std::cout << "  " << name << " = " << v.value() << "\n";
  return record("watched", v.value(), {v}, [name](const Tensor& dout, Grads& grads) {
    std::cout << "  dy/d" << name << " = " << dout << "\n";
    grads.add(0, dout);
  });
}

Variable leaf(const char* name, std::initializer_list<double> values) {
  Variable v(tensor<double>(values, {static_cast<Index>(values.size())}), /*requires_grad=*/true);
  v.set_name(name);
  return v;
}

int main(int argc, char** argv) {
  const Variable x = leaf("x", {1, 2, 3}), w = leaf("w", {0.5, -1, 0});
  if (argc == 2 && std::string_view(argv[1]) == "--dot") {
    to_dot(example(x, w, [](const char*, const Variable& v) { return v; }), std::cout);
    return 0;
  }
  if (argc > 1) {
    std::cerr << "watch_backward: unknown option " << argv[1] << "; there is --dot\n";
    return 2;
  }
  std::cout << "forward\n";
  const Variable y = example(x, w, watched);
  std::cout << "backward\n";
  backward(y);
  std::cout << "in the leaves\n  w.grad() = " << w.grad() << "\n  x.grad() = " << x.grad() << "\n";
}
