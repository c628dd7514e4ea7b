#include "subquad/nn/dropout.h"

#include "subquad/autograd/ops/dropout.h"

namespace subquad::nn {

Dropout::Dropout(const Place& place, double p) : Module(place), p_(p), stream_(stream_id(path())) {
  if (!(p >= 0 && p < 1)) throw Error(cat("dropout: p of '", path(), "' is ", p, ", expected 0 <= p < 1"));
}

bool Dropout::active(const RandomState& rng) const {
  if (!training() || p_ == 0) return false;
  if (!rng.defined())
    throw Error(
        cat("dropout: '", path(), "' with p = ", p_, " is training and needs a RandomState, which is undefined"));
  return true;
}

Variable Dropout::operator()(const Variable& x, const RandomState& rng) const {
  if (!active(rng)) return x;
  const ModuleScope scope = enter();
  return dropout(x, p_, rng.with_stream(stream_));
}

Variable Dropout::after(const Linear& map, const Variable& x, kernels::Activation activation, const RandomState& rng,
                        const Variable& residual) const {
  DenseOptions options = {.activation = activation};
  if (active(rng)) {
    options.p = p_;
    options.rng = rng.with_stream(stream_);
  }
  return map(x, options, residual);
}

}  // namespace subquad::nn
