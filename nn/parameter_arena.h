// All parameters of a model in one allocation and all gradients in another, in the same layout, so that clipping and an
// optimiser step are each one pass over flat memory.
#pragma once

#include "subquad/core/arena.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

class ParameterArena {
 public:
  // Moves the parameters there, values kept, in the order of model.parameters(). From then on their values and
  // gradients are views of the arenas, for the life of the model: a parameter is in one arena only, as an optimiser of
  // the first would step on memory that the model has left. Error when the parameters differ in dtype or device, when
  // there is none, or when one already has a gradient (of another arena, or of a backward before); the model is then as
  // it was.
  explicit ParameterArena(Module& model);

  Tensor values() const { return values_.flat(); }  // [total], gaps of the arena included (they stay 0)
  Tensor gradients() const { return gradients_.flat(); }
  void zero_grad();

  const std::vector<std::string>& names() const { return names_; }
  const Arena& layout() const { return values_; }  // zeros_like() makes room for moments

 private:
  std::vector<std::string> names_;
  Arena values_;
  Arena gradients_;
};

}  // namespace subquad::nn
