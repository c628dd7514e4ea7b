#include "subquad/nn/attention/attention.h"

#include "subquad/autograd/check.h"
#include "subquad/nn/forward_watch.h"

namespace subquad::nn {

namespace {

Index features_per_head(const AttentionConfig& config) {
  if (config.width < 1) throw Error(cat("attention: width is ", config.width, ", expected at least 1"));
  if (config.heads < 1) throw Error(cat("attention: heads is ", config.heads, ", expected at least 1"));
  if (config.head_width < 0) throw Error(cat("attention: head_width is ", config.head_width, ", expected 0 or more"));
  if (config.max_length < 0) throw Error(cat("attention: max_length is ", config.max_length, ", expected 0 or more"));
  if (config.head_width > 0) return config.head_width;
  if (config.width % config.heads != 0)
    throw Error(cat("attention: width ", config.width, " does not divide by ", config.heads,
                    " heads; give head_width or another number of heads"));
  return config.width / config.heads;
}

}  // namespace

Attention::Attention(const Place& place, const AttentionConfig& config)
    : Module(place), width_(config.width), heads_(config.heads), head_width_(features_per_head(config)) {}

void Attention::check(const AttentionInput& in) const {
  check_defined("attention", "values", in.values);
  check_defined("attention", "data", in.data);
  check_rank("attention", "values", in.values.value(), 3);
  const Tensor& values = in.values.value();
  check_shape("attention", "values", values, {values.dim(0), values.dim(1), width_});
  check_shape("attention", "data", in.data.value(), values.shape());
  check_mask("attention", in.mask, values.dim(0), values.dim(1));
}

Variable Attention::forward(const AttentionInput& in) const {
  const ModuleScope scope = enter();
  check(in);
  ForwardWatch::tell(*this, in);
  const Heads heads = project(in);
  return output(in, mix(in, heads, heads.v, training()));
}

MatrixInputs Attention::matrix_inputs(const AttentionInput& in) const {
  return {.batch = in.values.dim(0),
          .heads = heads_,
          .positions = in.values.dim(1),
          .columns = head_width_,
          .dtype = dtype(),
          .device = device()};
}

Tensor Attention::mixing_matrix(const AttentionInput& in) const {
  const ModuleScope scope = enter();
  const NoGrad no_grad;
  check(in);
  const Heads heads = project(in);
  return matrix_of(matrix_inputs(in), [&](const Variable& values) { return mix(in, heads, values, /*draws=*/false); });
}

}  // namespace subquad::nn
