// Variable: a handle to a Tensor plus what reverse-mode differentiation needs: its gradient if it is a leaf, or the
// node that made it. Copying the handle shares all of that.
//
//   Variable w(tensor, /*requires_grad=*/true);
//   Variable loss = mean(square(matmul(x, w)));
//   backward(loss);           // w.grad() now holds d loss / d w
#pragma once

#include <memory>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad {

class Node;

// Where gradients of one value add up. A leaf that requires a gradient has one; an inner value gets one by
// retain_grad().
struct GradSlot {
  Tensor grad;  // undefined until a backward reaches it; may be a view of an arena, which is then added to in place
  std::string name;  // for messages and graphs; parameters have theirs
};

class Variable {
 public:
  Variable() = default;  // undefined
  explicit Variable(Tensor value, bool requires_grad = false);

  bool defined() const { return impl_ != nullptr; }
  const Tensor& value() const;
  Tensor& mutable_value();  // for optimisers and loading; the graph notices through the version counter

  const Shape& shape() const { return value().shape(); }
  Index dim(int d) const { return value().dim(d); }
  int rank() const { return value().rank(); }
  DType dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }

  bool requires_grad() const;  // a leaf made so, or a result that depends on one
  bool is_leaf() const;        // not made by a recorded op

  // The gradient of a leaf, or of an inner value after retain_grad(); undefined when no backward has reached it.
  Tensor grad() const;
  void retain_grad();             // keep this inner value's gradient; no effect on leaves
  void zero_grad();               // zeros in place if there is a gradient
  void bind_grad(Tensor grad);    // gradients are added into this tensor (an arena's part); same shape and dtype
  void bind_value(Tensor value);  // the value lives in this tensor from now on (an arena's part); same shape and dtype
  Variable detach() const;        // the same value, outside the graph

  const std::string& name() const;  // "" when it has none
  void set_name(std::string name);

  // For the engine.
  struct Impl;
  const std::shared_ptr<Impl>& impl() const { return impl_; }
  static Variable from_node(Tensor value, std::shared_ptr<Node> node, int output);

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace subquad
