#include <map>
#include <ostream>
#include <vector>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/node.h"

namespace subquad {
namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

class DotWriter {
 public:
  explicit DotWriter(std::ostream& out) : out_(out) {}

  void write(const Variable& output) {
    out_ << "digraph subquad {\n  rankdir=BT;\n  node [fontname=\"monospace\"];\n";
    out_ << "  out [shape=plaintext, label=\"" << output.shape() << "\"];\n";
    const Variable::Impl& impl = *output.impl();
    if (impl.node != nullptr) out_ << "  " << id(impl.node) << " -> out;\n";
    while (!todo_.empty()) {
      const std::shared_ptr<Node> node = todo_.back();
      todo_.pop_back();
      write_node(*node);
    }
    out_ << "}\n";
  }

 private:
  // Ids are given in the order of discovery, so the text does not depend on addresses.
  std::string id(const std::shared_ptr<Node>& node) {
    const auto [it, is_new] = nodes_.try_emplace(node.get(), nodes_.size());
    if (is_new) todo_.push_back(node);
    return cat("op", it->second);
  }

  std::string id(const std::shared_ptr<GradSlot>& leaf, const Shape& shape) {
    const auto [it, is_new] = leaves_.try_emplace(leaf.get(), leaves_.size());
    const std::string name = cat("leaf", it->second);
    if (is_new) {
      out_ << "  " << name << " [shape=ellipse, style=filled, fillcolor=\"#e8f0fe\", label=\"" << escaped(leaf->name)
           << (leaf->name.empty() ? "" : "\\n") << shape << "\"];\n";
    }
    return name;
  }

  void write_node(const Node& node) {
    const std::string name = cat("op", nodes_.at(&node));
    out_ << "  " << name << " [shape=box, label=\"" << escaped(node.op);
    if (!node.module.empty()) out_ << "\\n" << escaped(node.module);
    out_ << "\"];\n";
    for (const Edge& edge : node.inputs) {
      if (!edge.wanted()) continue;
      const std::string from = edge.node != nullptr ? id(edge.node) : id(edge.leaf, edge.shape);
      out_ << "  " << from << " -> " << name << " [label=\"" << edge.shape << "\"];\n";
    }
  }

  std::ostream& out_;
  std::map<const Node*, std::size_t> nodes_;
  std::map<const GradSlot*, std::size_t> leaves_;
  std::vector<std::shared_ptr<Node>> todo_;
};

}  // namespace

void to_dot(const Variable& output, std::ostream& out) {
  if (!output.defined()) throw Error("to_dot: the variable is undefined");
  DotWriter(out).write(output);
}

}  // namespace subquad
