// Linear: out = x W + b on the last axis.
#pragma once

#include "subquad/autograd/ops/dense.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

struct LinearOptions {
  bool bias = true;
  Init weight = xavier_uniform();
  Init first_bias = zeros_init();
};

class Linear : public Module {
 public:
  Linear(const Place& place, Index inputs, Index outputs, const LinearOptions& options = {});

  Variable operator()(const Variable& x) const;  // [..., inputs] -> [..., outputs]
  // With activation, dropout and residual behind it, done while a product is near (kernels/dense).
  Variable operator()(const Variable& x, const DenseOptions& options, const Variable& residual) const;
  const Variable& weight() const { return weight_; }  // [inputs, outputs]
  const Variable& bias() const { return bias_; }      // [outputs], undefined without bias

 private:
  Variable weight_;
  Variable bias_;
};

}  // namespace subquad::nn
