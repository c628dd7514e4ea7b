#include "subquad/autograd/record.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "subquad/autograd/node.h"
#include "subquad/core/check.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad {
namespace {

thread_local bool grad_mode = true;
std::atomic<std::uint64_t> next_sequence{0};

Edge edge_to(const Variable& input) {
  if (!input.requires_grad()) return {};
  const Variable::Impl& impl = *input.impl();
  Edge edge{.node = impl.node, .output = impl.output, .leaf = nullptr, .shape = input.shape(), .dtype = input.dtype()};
  if (impl.node == nullptr) edge.leaf = impl.slot;
  return edge;
}

}  // namespace

Node::Node(const char* op_name, std::vector<Edge> edges, std::vector<NodeOutput> results, BackwardMany function)
    : op(op_name),
      module(module_path()),
      precision(subquad::precision()),
      sequence(next_sequence.fetch_add(1, std::memory_order_relaxed)),
      inputs(std::move(edges)),
      outputs(std::move(results)),
      backward(std::move(function)) {}

// Destroying the last handle of a chain would otherwise recurse once per node. The first destructor on the stack
// collects what the others let go of and empties the list in a loop.
Node::~Node() {
  thread_local std::vector<std::shared_ptr<Node>>* dying = nullptr;
  std::vector<std::shared_ptr<Node>> mine;
  const bool outermost = dying == nullptr;
  if (outermost) dying = &mine;
  for (Edge& edge : inputs)
    if (edge.node != nullptr) dying->push_back(std::move(edge.node));
  if (!outermost) return;
  while (!mine.empty()) {
    const std::shared_ptr<Node> next = std::move(mine.back());  // dies at the end of this iteration
    mine.pop_back();
  }
  dying = nullptr;
}

std::uint64_t next_node_sequence() {
  return next_sequence.load(std::memory_order_relaxed);
}

std::string Node::title() const {
  return module.empty() ? std::string(op) : cat(op, " in ", module);
}

void Node::release() {
  backward = nullptr;
}

Saved::Saved(Tensor t) : tensor_(std::move(t)), version_(tensor_.defined() ? tensor_.version() : 0) {}

const Tensor& Saved::get() const {
  if (tensor_.defined() && tensor_.version() != version_)
    throw Error(cat("a tensor saved for backward was changed in place since (", describe(tensor_), ", version ",
                    version_, " then, ", tensor_.version(), " now)"));
  return tensor_;
}

bool Grads::wanted(int input) const {
  return node_.inputs.at(static_cast<std::size_t>(input)).wanted();
}

void Grads::add(int input, Tensor grad) {
  const Shape shape = grad.shape();
  take(input, {std::move(grad)}, shape);
}

// An inner value's gradient is read by the next node; on the CPU a sum at once frees the parts, and costs no launch.
void Grads::add_parts(int input, Tensor parts) {
  const Edge& edge = node_.inputs.at(static_cast<std::size_t>(input));
  if (!edge.wanted()) return;
  if (edge.leaf == nullptr || parts.device().is_cpu() || detecting_anomaly())
    return add(input, kernels::sum(parts, {0}));
  const Shape shape = parts.shape().without(0);
  take(input, {std::move(parts), true}, shape);
}

void Grads::take(int input, InputGrad grad, const Shape& shape) {
  const Edge& edge = node_.inputs.at(static_cast<std::size_t>(input));
  if (!edge.wanted()) return;
  if (shape != edge.shape || grad.tensor.dtype() != edge.dtype)
    throw InternalError(cat("backward of ", node_.title(), ": the gradient of input ", input, " is ",
                            describe(grad.tensor), ", expected ", edge.shape, " ", edge.dtype));
  InputGrad& slot = slots_.at(static_cast<std::size_t>(input));
  if (slot.tensor.defined())
    throw InternalError(cat("backward of ", node_.title(), ": input ", input, " was given twice"));
  slot = std::move(grad);
}

std::vector<Variable> record_always(const char* op, std::vector<Tensor> outs, const std::vector<Variable>& inputs,
                                    BackwardMany backward) {
  std::vector<Edge> edges;
  for (const Variable& input : inputs) edges.push_back(edge_to(input));
  std::vector<NodeOutput> results;
  for (const Tensor& out : outs) results.push_back({out.shape(), out.dtype(), out.device(), nullptr});
  const auto node = std::make_shared<Node>(op, std::move(edges), std::move(results), std::move(backward));
  std::vector<Variable> variables;
  for (std::size_t i = 0; i < outs.size(); ++i) {
    variables.push_back(is_floating(outs[i].dtype()) || is_complex(outs[i].dtype())
                            ? Variable::from_node(outs[i], node, static_cast<int>(i))
                            : Variable(outs[i]));  // indices carry no gradient
  }
  return variables;
}

std::vector<Variable> record(const char* op, std::vector<Tensor> outs, const std::vector<Variable>& inputs,
                             BackwardMany backward) {
  check_forward(op, outs, inputs);
  const bool wanted = std::any_of(inputs.begin(), inputs.end(), [](const Variable& v) { return v.requires_grad(); });
  if (grad_mode && wanted) return record_always(op, std::move(outs), inputs, std::move(backward));
  std::vector<Variable> variables;
  for (Tensor& out : outs) variables.emplace_back(std::move(out));
  return variables;
}

Variable record(const char* op, Tensor out, const std::vector<Variable>& inputs, Backward backward) {
  std::vector<Tensor> outs;
  outs.push_back(std::move(out));
  return record(
      op, std::move(outs), inputs,
      [backward = std::move(backward)](std::span<const Tensor> douts, Grads& grads) { backward(douts[0], grads); })[0];
}

bool grad_enabled() {
  return grad_mode;
}

NoGrad::NoGrad() : before_(std::exchange(grad_mode, false)) {}
NoGrad::~NoGrad() {
  grad_mode = before_;
}

EnableGrad::EnableGrad() : before_(std::exchange(grad_mode, true)) {}
EnableGrad::~EnableGrad() {
  grad_mode = before_;
}

}  // namespace subquad
