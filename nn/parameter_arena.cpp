#include "subquad/nn/parameter_arena.h"

#include "subquad/core/check.h"

namespace subquad::nn {

ParameterArena::ParameterArena(Module& model) {
  std::vector<Variable> parameters = model.parameters();
  if (parameters.empty()) throw Error("ParameterArena: the model has no parameters");
  std::vector<Shape> shapes;
  for (const Variable& v : parameters) {
    if (v.grad().defined())
      throw Error(cat("ParameterArena: ", v.name(),
                      " already has a gradient, of another arena or of a backward before; ",
                      "expected parameters that no arena holds"));
    check_same_kind("ParameterArena", parameters[0].name().c_str(), parameters[0].value(), v.name().c_str(), v.value());
    shapes.push_back(v.shape());
    names_.push_back(v.name());
  }
  values_ = Arena(shapes, parameters[0].dtype(), parameters[0].device());
  gradients_ = values_.zeros_like();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Tensor value = values_.part(i);
    copy(parameters[i].value(), value);
    parameters[i].bind_value(value);
    parameters[i].bind_grad(gradients_.part(i));
  }
}

void ParameterArena::zero_grad() {
  Tensor flat = gradients_.flat();
  fill(flat, 0);
}

}  // namespace subquad::nn
