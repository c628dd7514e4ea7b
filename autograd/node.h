// The graph behind a Variable; only the engine (record.cpp, backward.cpp, to_dot.cpp) looks inside.
#pragma once

#include <string>
#include <vector>

#include "subquad/autograd/record.h"
#include "subquad/core/precision.h"

namespace subquad {

// Where the gradient of one input of a node goes: to an output of another node, to a leaf, or nowhere.
struct Edge {
  std::shared_ptr<Node> node;
  int output = 0;
  std::shared_ptr<GradSlot> leaf;
  Shape shape;
  DType dtype = kFloat32;

  bool wanted() const { return node != nullptr || leaf != nullptr; }
};

struct NodeOutput {
  Shape shape;
  DType dtype = kFloat32;
  Device device;
  std::shared_ptr<GradSlot> retained;  // set by retain_grad()
};

class Node {
 public:
  Node(const char* op_name, std::vector<Edge> edges, std::vector<NodeOutput> results, BackwardMany function);
  ~Node();  // lets go of long chains of nodes without recursion
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  std::string title() const;  // "matmul", or "matmul in encoder.layer.0"
  void release();             // drops the backward function and all that it saved

  const char* op;
  std::string module;      // path of the ModuleScope it was made in
  Precision precision;     // in use when it was made; its backward computes in the same
  std::uint64_t sequence;  // grows with every node of the thread: inputs always have smaller numbers
  std::vector<Edge> inputs;
  std::vector<NodeOutput> outputs;
  BackwardMany backward;  // empty once released
};

// The sequence number that the next node will have.
std::uint64_t next_node_sequence();

struct Variable::Impl {
  Tensor value;
  bool requires_grad = false;
  std::shared_ptr<Node> node;      // null for a leaf
  int output = 0;                  // which output of `node` this is
  std::shared_ptr<GradSlot> slot;  // leaves, and inner values after retain_grad()
};

// Path of the innermost ModuleScope of this thread, "" outside of all.
const std::string& module_path();

// record() for a node that belongs to the graph whatever its inputs are: checkpoint's function may use parameters that
// it captured. The caller has checked that grad mode is on.
std::vector<Variable> record_always(const char* op, std::vector<Tensor> outs, const std::vector<Variable>& inputs,
                                    BackwardMany backward);

// Anomaly detection (anomaly.cpp). Nothing is looked at unless a DetectAnomaly lives in this thread.
bool detecting_anomaly();
void check_forward(const char* op, const std::vector<Tensor>& outs, const std::vector<Variable>& inputs);
void check_gradient(const Node& node, int input, const Tensor& gradient, std::span<const Tensor> upstream);

}  // namespace subquad
