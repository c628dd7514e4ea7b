#include "subquad/nn/module.h"

#include <algorithm>

#include "subquad/core/rng.h"

namespace subquad::nn {

namespace {

std::string join(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

}  // namespace

Module::Module(const Place& place) : place_(place) {
  if (place_.parent_ == nullptr) return;
  path_ = join(place_.parent_->path_, place_.name_);
  place_.parent_->children_.push_back(this);
}

// Members die before the module that holds them, so the parent is still there to forget this one.
Module::~Module() {
  if (place_.parent_ != nullptr) std::erase(place_.parent_->children_, this);
}

Place Module::child(const std::string& name) {
  for (const Module* other : children_)
    if (other->place_.name_ == name) throw InternalError(cat("module '", path_, "' has two children '", name, "'"));
  Place place = place_;
  place.parent_ = this;
  place.name_ = name;
  return place;
}

Variable Module::parameter(const std::string& name, const Shape& shape, const Init& init) {
  const std::string full = join(path_, name);
  const Module* model = this;
  while (model->place_.parent_ != nullptr) model = model->place_.parent_;
  // All of the model is searched: names may hold dots, so "a.b" may be a parameter here and one of a member "a".
  for (const Variable& other : model->parameters())
    if (other.name() == full) throw InternalError(cat("the model has two parameters '", full, "'"));
  Tensor value = empty(shape, dtype(), kCpu);  // drawn on the CPU: the same values on every device
  init(value, place_.seed(), stream_id(full));
  Variable variable(value.to(device()), /*requires_grad=*/true);
  variable.set_name(full);
  parameters_.push_back(variable);
  return variable;
}

std::vector<Variable> Module::parameters() const {
  std::vector<Variable> all;
  collect(all);
  return all;
}

void Module::collect(std::vector<Variable>& all) const {
  all.insert(all.end(), parameters_.begin(), parameters_.end());
  for (const Module* module : children_) module->collect(all);
}

Index Module::parameter_count() const {
  Index count = 0;
  for (const Variable& v : parameters()) count += v.value().size();
  return count;
}

void Module::zero_grad() {
  for (Variable& v : parameters()) v.zero_grad();
}

void Module::set_training(bool training) {
  training_ = training;
  for (Module* module : children_) module->set_training(training);
}

StateDict Module::state_dict() const {
  StateDict state;
  const std::size_t prefix = path_.empty() ? 0 : path_.size() + 1;
  for (const Variable& v : parameters()) state.emplace(v.name().substr(prefix), v.value());
  return state;
}

void Module::load_state_dict(const StateDict& state) {
  load_tensors("load_state_dict", state_dict(), state);
}

}  // namespace subquad::nn
