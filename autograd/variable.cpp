#include "subquad/autograd/variable.h"

#include "subquad/autograd/node.h"
#include "subquad/core/check.h"

namespace subquad {
namespace {

const Variable::Impl& get(const char* what, const std::shared_ptr<Variable::Impl>& impl) {
  if (impl == nullptr) throw Error(cat(what, ": the variable is undefined"));
  return *impl;
}

}  // namespace

Variable::Variable(Tensor value, bool requires_grad) : impl_(std::make_shared<Impl>()) {
  check_defined("Variable", "value", value);
  if (requires_grad) {
    check_float("Variable", "value", value);
    impl_->slot = std::make_shared<GradSlot>();
  }
  impl_->value = std::move(value);
  impl_->requires_grad = requires_grad;
}

Variable Variable::from_node(Tensor value, std::shared_ptr<Node> node, int output) {
  Variable out(std::move(value));
  out.impl_->requires_grad = true;
  out.impl_->node = std::move(node);
  out.impl_->output = output;
  return out;
}

const Tensor& Variable::value() const {
  return get("value", impl_).value;
}

Tensor& Variable::mutable_value() {
  get("mutable_value", impl_);
  return impl_->value;
}

bool Variable::requires_grad() const {
  return impl_ != nullptr && impl_->requires_grad;
}

bool Variable::is_leaf() const {
  return get("is_leaf", impl_).node == nullptr;
}

Tensor Variable::grad() const {
  const Impl& impl = get("grad", impl_);
  return impl.slot == nullptr ? Tensor() : impl.slot->grad;
}

void Variable::retain_grad() {
  const Impl& impl = get("retain_grad", impl_);
  if (!impl.requires_grad) throw Error("retain_grad: the variable does not require a gradient");
  if (impl.node == nullptr) return;
  auto& retained = impl.node->outputs[static_cast<std::size_t>(impl.output)].retained;
  if (retained == nullptr) retained = std::make_shared<GradSlot>();
  impl_->slot = retained;
}

void Variable::zero_grad() {
  const Impl& impl = get("zero_grad", impl_);
  if (impl.slot != nullptr && impl.slot->grad.defined()) fill(impl.slot->grad, 0);
}

void Variable::bind_grad(Tensor grad) {
  const Impl& impl = get("bind_grad", impl_);
  if (impl.slot == nullptr) throw Error("bind_grad: the variable is not a leaf that requires a gradient");
  check_shape("bind_grad", "grad", grad, impl.value.shape());
  check_same_kind("bind_grad", "value", impl.value, "grad", grad);
  impl.slot->grad = std::move(grad);
}

void Variable::bind_value(Tensor value) {
  const Impl& impl = get("bind_value", impl_);
  check_shape("bind_value", "value", value, impl.value.shape());
  check_same_kind("bind_value", "the present value", impl.value, "value", value);
  impl_->value = std::move(value);
}

Variable Variable::detach() const {
  return Variable(value());
}

const std::string& Variable::name() const {
  static const std::string none;
  const Impl& impl = get("name", impl_);
  return impl.slot == nullptr ? none : impl.slot->name;
}

void Variable::set_name(std::string name) {
  const Impl& impl = get("set_name", impl_);
  if (impl.slot == nullptr) throw Error("set_name: only a leaf that requires a gradient can have a name");
  impl.slot->name = std::move(name);
}

}  // namespace subquad
