// How an op enters the graph. An op computes its value with kernels, then calls record with a function that turns
// upstream gradients into gradients of its inputs. What that function captures is exactly what stays alive for
// backward; it runs in the precision (core/precision.h) that was in use when the op was recorded.
//
//   Variable mul(const Variable& a, const Variable& b) {
//     return record("mul", kernels::mul(a.value(), b.value()), {a, b},
//                   [a = Saved(a), b = Saved(b)](const Tensor& dout, Grads& grads) {
//                     if (grads.wanted(0)) grads.add(0, kernels::mul(dout, b));
//                     if (grads.wanted(1)) grads.add(1, kernels::mul(dout, a));
//                   });
//   }
#pragma once

#include <functional>
#include <span>

#include "subquad/autograd/variable.h"

namespace subquad {

// A tensor kept for backward. Reading it checks that nobody wrote into it in between: if so, Error
// "mul: a tensor saved for backward was changed in place since (shape [2, 3], version 0 then, 1 now)".
class Saved {
 public:
  Saved() = default;  // holds an undefined tensor
  Saved(Tensor t);
  Saved(const Variable& v) : Saved(v.value()) {}

  const Tensor& get() const;
  operator const Tensor&() const { return get(); }

 private:
  Tensor tensor_;
  std::uint32_t version_ = 0;
};

// The gradient of a node's input on its way: a tensor of the input's shape, or `in_parts` one of [P, shape], to be
// summed over its first dimension.
struct InputGrad {
  Tensor tensor;
  bool in_parts = false;
};

// Collects the gradients of one node's inputs during backward.
class Grads {
 public:
  Grads(const Node& node, std::vector<InputGrad>& slots) : node_(node), slots_(slots) {}

  bool wanted(int input) const;      // does this input lead to something that requires a gradient?
  void add(int input, Tensor grad);  // shape and dtype of that input; may be called once per input
  // The same for sum_p parts[p]. On a GPU the sums of all leaves are made in one launch at the end of backward.
  void add_parts(int input, Tensor parts);

 private:
  void take(int input, InputGrad grad, const Shape& shape);

  const Node& node_;
  std::vector<InputGrad>& slots_;
};

using Backward = std::function<void(const Tensor& dout, Grads& grads)>;
// One upstream gradient per output; undefined for an output that nothing used.
using BackwardMany = std::function<void(std::span<const Tensor> douts, Grads& grads)>;

// The result as a Variable; it is part of the graph when grad mode is on and an input requires a gradient. An undefined
// input stands for an optional argument that was left out.
Variable record(const char* op, Tensor out, const std::vector<Variable>& inputs, Backward backward);
std::vector<Variable> record(const char* op, std::vector<Tensor> outs, const std::vector<Variable>& inputs,
                             BackwardMany backward);

// True unless a NoGrad guard lives in this thread.
bool grad_enabled();

// While one lives, ops of this thread record nothing.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

// The opposite, for code that must record inside somebody's NoGrad (checkpoint's second run).
class EnableGrad {
 public:
  EnableGrad();
  ~EnableGrad();
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  bool before_;
};

}  // namespace subquad
