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

Tensor Attention::mixing_matrix(const AttentionInput& in) const {
  const ModuleScope scope = enter();
  const NoGrad no_grad;
  check(in);
  const Index batch = in.values.dim(0), positions = in.values.dim(1);
  const Heads heads = project(in);
  Tensor matrix = empty({batch, heads_, positions, positions}, dtype(), device());
  for (Index start = 0; start < positions; start += head_width_) {
    const Index stop = std::min(positions, start + head_width_);
    Tensor columns = zeros({positions, head_width_}, dtype(), device());  // columns start ... stop - 1 of the identity
    for (Index j = start; j < stop; ++j) {
      Tensor one = columns.select(0, j).slice(0, j - start, j - start + 1);
      fill(one, 1);
    }
    const Tensor values = columns.expand({batch, heads_, positions, head_width_}).contiguous();
    Tensor target = matrix.slice(3, start, stop);
    copy(mix(in, heads, Variable(values), /*draws=*/false).value().slice(3, 0, stop - start),
         target);  // [B, H, N, stop - start]
  }
  return matrix;
}

}  // namespace subquad::nn
