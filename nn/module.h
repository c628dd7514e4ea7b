// Module: a part of a model that owns parameters and smaller modules, all of them named.
//
// A module is told its place when it is made: which module holds it and under which name, and the seed, dtype and
// device of its parameters. Making a member with child("name") is all that registering takes:
//
//   FeedForward::FeedForward(const Place& place, Index width, Index hidden)
//       : Module(place), first_(child("first"), width, hidden), second_(child("second"), hidden, width) {}
//
// The full name of a parameter is its path, dots between: "layers.0.feed_forward.first.weight". It seeds the initial
// values, names the entry in files, and appears in messages. Modules do not move: members stay where they were made.
#pragma once

#include <string>
#include <vector>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/variable.h"
#include "subquad/nn/init.h"
#include "subquad/nn/state_dict.h"

namespace subquad::nn {

class Module;

// Where a module stands. The public constructor makes the place of a whole model; child() makes all others.
class Place {
 public:
  Place(std::uint64_t seed, DType dtype, Device device) : seed_(seed), dtype_(dtype), device_(device) {}

  std::uint64_t seed() const { return seed_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

 private:
  friend class Module;
  std::uint64_t seed_;
  DType dtype_;
  Device device_;
  Module* parent_ = nullptr;
  std::string name_;
};

class Module {
 public:
  explicit Module(const Place& place);
  virtual ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  const std::string& path() const { return path_; }  // "" for a whole model
  DType dtype() const { return place_.dtype(); }
  Device device() const { return place_.device(); }

  // Own parameters in the order they were made, then those of each child. Each Variable carries its full name.
  std::vector<Variable> parameters() const;
  Index parameter_count() const;  // elements, not tensors
  void zero_grad();

  // Layers that act differently while training (dropout) ask training(). A new module is training.
  void train() { set_training(true); }
  void eval() { set_training(false); }
  bool training() const { return training_; }

  // The parameters under their names relative to this module. The tensors share storage with the model: clone() those
  // that must outlive the next step. Loading checks names, shapes and dtypes as load_tensors says, and copies.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 protected:
  // The place of a member, and a parameter of this module. A name may hold dots ("layers.0"); a name that another
  // member has, and a full name that another parameter of the model has, are an InternalError.
  Place child(const std::string& name);
  Variable parameter(const std::string& name, const Shape& shape, const Init& init);

  // Open during a forward, so that graph nodes and anomaly messages carry the path.
  ModuleScope enter() const { return ModuleScope(place_.name_); }

 private:
  void set_training(bool training);
  void collect(std::vector<Variable>& all) const;

  Place place_;
  std::string path_;
  bool training_ = true;
  std::vector<Variable> parameters_;
  std::vector<Module*> children_;
};

}  // namespace subquad::nn
