#include "subquad/autograd/backward.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <unordered_map>
#include <utility>

#include "subquad/autograd/node.h"
#include "subquad/core/check.h"
#include "subquad/core/profile.h"
#include "subquad/kernels/accumulate/accumulate.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad {
namespace {

// The dimensions as they lie in memory, the widest stride first.
std::vector<int> memory_order(const Tensor& t) {
  std::vector<int> order(static_cast<std::size_t>(t.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return t.strides()[a] > t.strides()[b]; });
  return order;
}

// Nobody else can write to them, and writing one leaves the others as they are.
bool has_own_elements(const Tensor& t) {
  return t.is_alone() && t.permute(memory_order(t)).is_contiguous();
}

// a + b as a new tensor that lies in memory as they do, where they lie alike: gradients of heads [B, H, N, E] are
// stored as [B, N, H, E], which is what the merged heads before them want.
Tensor add_as_they_lie(const Tensor& a, const Tensor& b) {
  const std::vector<int> order = memory_order(a);
  const Tensor rows = a.permute(order);
  if (a.strides() != b.strides() || !rows.is_contiguous()) return kernels::add(a, b);
  std::vector<int> back(order.size());
  for (std::size_t d = 0; d < order.size(); ++d) back[static_cast<std::size_t>(order[d])] = static_cast<int>(d);
  return kernels::add(rows, b.permute(order)).permute(back);
}

// a + b as a new tensor. Spectra are added as the pairs of real numbers that they are.
Tensor added(const Tensor& a, const Tensor& b) {
  if (!is_complex(a.dtype())) return add_as_they_lie(a, b);
  const auto pairs = [](const Tensor& t) { return kernels::complex_to_pairs(t.contiguous()); };
  return kernels::pairs_to_complex(kernels::add(pairs(a), pairs(b)));
}

// A sum of gradients that arrive one by one. The first is kept as it came (it may be shared with other sums, so it is
// never written to); the second makes a tensor of our own, and later ones are added into that.
class Sum {
 public:
  void add(const InputGrad& grad) {
    if (grad.in_parts && !total_.defined() && !parts_.defined())
      parts_ = grad.tensor;
    else
      add(grad.in_parts ? kernels::sum(grad.tensor, {0}) : grad.tensor);
  }

  void add(const Tensor& grad) {
    join_parts();
    if (!total_.defined()) {
      total_ = grad;
    } else if (!own_ || is_complex(grad.dtype())) {
      total_ = added(total_, grad);
      own_ = true;
    } else {
      kernels::add_into(total_, grad);
    }
  }

  const Tensor& total() {
    join_parts();
    return total_;
  }

  bool in_parts() const { return parts_.defined(); }
  // The whole as [P, ...], for kernels::accumulate; not for spectra.
  Tensor parts() const {
    if (parts_.defined()) return parts_;
    const bool rows = total_.rank() == 2 && total_.strides()[1] == 1;
    return (rows ? total_ : total_.contiguous()).unsqueeze(0);
  }

 private:
  void join_parts() {
    if (!parts_.defined()) return;
    total_ = kernels::sum(parts_, {0});
    parts_ = Tensor();
    own_ = true;
  }

  Tensor total_;
  Tensor parts_;  // in place of total_, as long as nothing else has come
  bool own_ = false;
};

void add_to_slot(GradSlot& slot, const Tensor& grad) {
  if (slot.grad.defined())
    kernels::add_into(slot.grad, grad);
  else
    slot.grad = grad.clone();
}

// What happens to gradients that reach a leaf: backward() adds them to the leaves' slots when the walk has ended, all
// at once; grad() keeps those that were asked for. A checkpoint's inner walk hands on to the outer one what is not its
// own.
class Leaves {
 public:
  explicit Leaves(bool into_slots) : into_slots_(into_slots) {}

  void keep(const std::shared_ptr<GradSlot>& slot) { kept_.try_emplace(slot.get()); }
  void forward_rest_to(Leaves* outer) { outer_ = outer; }

  void add(const std::shared_ptr<GradSlot>& slot, const InputGrad& grad) {
    if (const auto it = kept_.find(slot.get()); it != kept_.end()) {
      it->second.add(grad);
    } else if (outer_ != nullptr) {
      outer_->add(slot, grad);
    } else if (into_slots_) {
      const auto [place, is_new] = waiting_.try_emplace(slot.get(), arrived_.size());
      if (is_new) arrived_.push_back({slot, {}});
      arrived_[place->second].grad.add(grad);
    }
  }

  Tensor kept(const std::shared_ptr<GradSlot>& slot) { return kept_.at(slot.get()).total(); }

  // To the slots.
  void finish() {
    std::vector<kernels::Addition> additions;
    for (auto& [slot, grad] : arrived_) {
      if (!slot->grad.defined() && grad.in_parts())  // the first sum rounds as later ones do
        slot->grad = zeros(grad.parts().shape().without(0), grad.parts().dtype(), grad.parts().device());
      if (slot->grad.defined() && slot->grad.is_contiguous() && is_floating(slot->grad.dtype()))
        additions.push_back({slot->grad, grad.parts()});
      else
        add_to_slot(*slot, grad.total());
    }
    kernels::accumulate(additions);
    waiting_.clear();
    arrived_.clear();
  }

 private:
  struct Arrived {
    std::shared_ptr<GradSlot> slot;
    Sum grad;
  };

  bool into_slots_;
  Leaves* outer_ = nullptr;
  std::unordered_map<GradSlot*, Sum> kept_;
  std::unordered_map<GradSlot*, std::size_t> waiting_;  // slot: its number in arrived_
  std::vector<Arrived> arrived_;
};

// The leaves of the walk that runs in this thread, for the walks of checkpoints inside it.
thread_local Leaves* current_leaves = nullptr;

struct ByAge {
  bool operator()(const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) const {
    return a->sequence < b->sequence;
  }
};

class Walk {
 public:
  // fill_retained: gradients of inner values go to those who called retain_grad(); grad() leaves them as they are.
  Walk(Leaves& leaves, BackwardOptions options, bool fill_retained)
      : leaves_(leaves), options_(options), fill_retained_(fill_retained) {}

  // A checkpoint's walk must not leave what its second run recorded: older nodes belong to the outer walk.
  void stay_above(std::uint64_t sequence) { oldest_ = sequence; }

  void seed(const Variable& output, const Tensor& upstream) {
    const Variable::Impl& impl = *output.impl();
    if (impl.node != nullptr)
      deliver(impl.node, impl.output, upstream);
    else if (impl.slot != nullptr)
      leaves_.add(impl.slot, {upstream});
  }

  void capture(const Variable& inner) { captured_[key(*inner.impl()->node, inner.impl()->output)]; }

  Tensor captured(const Variable& inner) const { return captured_.at(key(*inner.impl()->node, inner.impl()->output)); }

  // Newest node first: every user of a node's outputs is newer than the node, so its gradients are complete when it
  // runs.
  void run() {
    Leaves* const outer = std::exchange(current_leaves, &leaves_);
    try {
      while (!queue_.empty()) {
        const std::shared_ptr<Node> node = queue_.top();
        queue_.pop();
        run_node(*node);
      }
    } catch (...) {
      current_leaves = outer;
      throw;
    }
    current_leaves = outer;
  }

 private:
  using Key = std::pair<const Node*, int>;
  struct KeyHash {
    std::size_t operator()(const Key& k) const {
      return std::hash<const Node*>()(k.first) * 31 + static_cast<std::size_t>(k.second);
    }
  };
  static Key key(const Node& node, int output) { return {&node, output}; }

  void deliver(const std::shared_ptr<Node>& node, int output, const Tensor& grad) {
    if (node->sequence < oldest_)
      throw Error(cat("checkpoint: its function uses a result of ", node->title(),
                      " from outside; pass it as one of the inputs"));
    const auto [it, is_new] = pending_.try_emplace(node.get());
    if (is_new) {
      it->second.resize(node->outputs.size());
      queue_.push(node);
    }
    it->second[static_cast<std::size_t>(output)].add(grad);
  }

  void run_node(Node& node) {
    std::vector<Tensor> douts;
    {
      const auto it = pending_.find(&node);
      for (Sum& sum : it->second) douts.push_back(sum.total());
      pending_.erase(it);
    }
    for (std::size_t i = 0; i < douts.size(); ++i) observe(node, static_cast<int>(i), douts[i]);
    std::vector<InputGrad> slots = input_gradients(node, douts);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (!slots[i].tensor.defined()) continue;
      check_gradient(node, static_cast<int>(i), slots[i].tensor, douts);
      const Edge& edge = node.inputs[i];
      if (edge.node != nullptr)
        deliver(edge.node, edge.output, slots[i].tensor);
      else
        leaves_.add(edge.leaf, slots[i]);
      slots[i] = {};
    }
  }

  // Hands the gradient of an inner value to those who asked to see it.
  void observe(const Node& node, int output, const Tensor& dout) {
    if (!dout.defined()) return;
    const auto& retained = node.outputs[static_cast<std::size_t>(output)].retained;
    if (retained != nullptr && fill_retained_) add_to_slot(*retained, dout);
    if (const auto it = captured_.find(key(node, output)); it != captured_.end()) it->second = dout;
  }

  std::vector<InputGrad> input_gradients(Node& node, const std::vector<Tensor>& douts) {
    std::vector<InputGrad> slots(node.inputs.size());
    if (!node.backward)
      throw Error(cat("backward of ", node.title(),
                      ": this part of the graph was walked before and is gone; use keep_graph to walk it twice"));
    Grads grads(node, slots);
    const NoGrad no_grad;
    const PrecisionGuard same_precision(node.precision);
    const ProfilePhase phase("backward", node.module);
    try {
      node.backward(douts, grads);
    } catch (const InternalError&) {
      throw;
    } catch (const Error& error) {
      throw Error(cat("backward of ", node.title(), ": ", error.what()));
    }
    if (!options_.keep_graph) node.release();
    return slots;
  }

  Leaves& leaves_;
  BackwardOptions options_;
  bool fill_retained_;
  std::uint64_t oldest_ = 0;
  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, ByAge> queue_;
  std::unordered_map<const Node*, std::vector<Sum>> pending_;
  std::unordered_map<Key, Tensor, KeyHash> captured_;
};

Tensor upstream_of(const char* op, const Variable& output, const Tensor& given) {
  if (!output.requires_grad())
    throw Error(cat(op, ": the output does not depend on anything that requires a gradient"));
  if (given.defined()) {
    check_shape(op, "upstream", given, output.shape());
    check_same_kind(op, "output", output.value(), "upstream", given);
    return given;
  }
  if (output.value().size() != 1)
    throw ShapeError(cat(op, ": output is ", describe(output.value()),
                         "; only an output of one element can go without an upstream gradient"));
  return full(output.shape(), 1, output.dtype(), output.device());
}

}  // namespace

void backward(const Variable& output, const Tensor& upstream, BackwardOptions options) {
  const ProfilePhase phase("backward");
  Leaves leaves(true);
  Walk walk(leaves, options, true);
  walk.seed(output, upstream_of("backward", output, upstream));
  walk.run();
  leaves.finish();
}

std::vector<Tensor> grad(const std::vector<Variable>& outputs, const std::vector<Variable>& inputs,
                         const std::vector<Tensor>& upstream, BackwardOptions options) {
  if (!upstream.empty() && upstream.size() != outputs.size())
    throw Error(cat("grad: ", upstream.size(), " upstream gradients for ", outputs.size(), " outputs"));
  std::vector<Tensor> results;
  {
    Leaves leaves(false);
    Walk walk(leaves, options, false);
    for (const Variable& input : inputs) {
      if (!input.requires_grad()) throw Error("grad: an input does not require a gradient");
      if (input.is_leaf())
        leaves.keep(input.impl()->slot);
      else
        walk.capture(input);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i)
      walk.seed(outputs[i], upstream_of("grad", outputs[i], upstream.empty() ? Tensor() : upstream[i]));
    walk.run();
    for (const Variable& input : inputs)
      results.push_back(input.is_leaf() ? leaves.kept(input.impl()->slot) : walk.captured(input));
  }  // what else held the results is gone
  for (std::size_t i = 0; i < results.size(); ++i)
    if (!results[i].defined())
      results[i] = zeros_like(inputs[i].value());
    else if (!has_own_elements(results[i]))
      results[i] = results[i].clone();
  return results;
}

Variable checkpoint(const CheckpointFn& fn, const std::vector<Variable>& inputs) {
  if (!grad_enabled()) return fn(inputs);
  Tensor out;
  {
    const NoGrad no_grad;
    out = fn(inputs).value();
  }
  std::vector<Saved> saved;
  for (const Variable& input : inputs) saved.push_back(input.defined() ? Saved(input) : Saved());
  auto rerun = [fn, saved = std::move(saved), module = module_path()](std::span<const Tensor> douts, Grads& grads) {
    std::vector<Variable> again;
    Leaves leaves(true);
    leaves.forward_rest_to(current_leaves);
    for (std::size_t i = 0; i < saved.size(); ++i) {
      const Tensor& value = saved[i];
      again.push_back(value.defined() ? Variable(value, grads.wanted(static_cast<int>(i))) : Variable());
      if (again.back().requires_grad()) leaves.keep(again.back().impl()->slot);
    }
    Variable result;
    const std::uint64_t first_of_rerun = next_node_sequence();
    {
      const ModuleScope scope(module);  // backward runs outside of it
      const EnableGrad enable;
      result = fn(again);
    }
    if (!result.requires_grad()) return;
    Walk walk(leaves, {}, true);
    walk.stay_above(first_of_rerun);
    walk.seed(result, douts[0]);
    walk.run();
    for (std::size_t i = 0; i < again.size(); ++i) {
      if (!again[i].requires_grad()) continue;
      const Tensor total = leaves.kept(again[i].impl()->slot);
      if (total.defined()) grads.add(static_cast<int>(i), total);
    }
  };
  return record_always("checkpoint", {out}, inputs, std::move(rerun))[0];
}

}  // namespace subquad
