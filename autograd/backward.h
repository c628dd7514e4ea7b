// Reverse-mode differentiation over recorded graphs. Nodes run in the reverse order of their making, from a queue, so a
// graph 10^5 nodes deep needs no stack; each node's saved tensors are released as soon as it has run. Gradients that
// meet at a value are added in a fixed order, so the bits are the same every time.
#pragma once

#include <functional>
#include <iosfwd>
#include <span>
#include <string>

#include "subquad/autograd/record.h"

namespace subquad {

// Adds d output / d leaf to the gradient of every leaf behind `output`. Without an upstream gradient, `output` must
// hold one element and 1 is used. A graph can be walked once: a second walk is an Error, unless keep_graph was given.
struct BackwardOptions {
  bool keep_graph = false;
};
void backward(const Variable& output, const Tensor& upstream = {}, BackwardOptions options = {});

// d sum_i <outputs[i], upstream[i]> / d inputs[j], without touching any leaf's gradient. Inputs may be inner values.
// An input that no output depends on gets zeros. `upstream` may be empty when every output holds one element. Each result
// has memory of its own, in the order of its dimensions that the op before it chose.
std::vector<Tensor> grad(const std::vector<Variable>& outputs, const std::vector<Variable>& inputs,
                         const std::vector<Tensor>& upstream = {}, BackwardOptions options = {});

// Runs fn(inputs) without keeping its intermediates; backward runs it once more to get them. fn must be a pure function
// of its inputs and of parameters it captures, whose gradients are added as usual. Randomness is counter-based, so the
// second run draws the same numbers.
using CheckpointFn = std::function<Variable(const std::vector<Variable>&)>;
Variable checkpoint(const CheckpointFn& fn, const std::vector<Variable>& inputs);

// While one lives, the first op of this thread whose result (forward) or gradient (backward) holds a NaN or an infinity
// throws an Error that names the op, the module path and the first bad element. An op that only passes on a bad input
// is not blamed: inputs are looked at first. In results -inf is let through, since it is a legal logarithm of zero (the
// log-sum-exp of a query that sees no key, the log-probability of an impossible class).
class DetectAnomaly {
 public:
  DetectAnomaly();
  ~DetectAnomaly();
  DetectAnomaly(const DetectAnomaly&) = delete;
  DetectAnomaly& operator=(const DetectAnomaly&) = delete;

 private:
  bool before_;
};

// Names the part of the model that runs now; nodes made while it lives carry the path ("encoder.layer.0").
class ModuleScope {
 public:
  explicit ModuleScope(const std::string& name);
  ~ModuleScope();
  ModuleScope(const ModuleScope&) = delete;
  ModuleScope& operator=(const ModuleScope&) = delete;

 private:
  std::size_t length_before_;
};

// The graph behind a value in Graphviz's language: ops as boxes, leaves as ellipses with name and shape.
void to_dot(const Variable& output, std::ostream& out);

}  // namespace subquad
