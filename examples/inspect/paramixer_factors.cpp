#include "subquad/examples/inspect/paramixer_factors.h"

#include <algorithm>

#include "subquad/autograd/ops/shape.h"
#include "subquad/nn/attention/matrix_of.h"
#include "subquad/nn/attention/paramixer.h"

namespace subquad::inspect {

namespace {

// w [n, L]
Tensor dense_factor(const Tensor& weights, const Links& links, bool residual) {
  const Index n = weights.dim(0);
  Tensor matrix = zeros({n, n}, kFloat64, kCpu);
  const auto w = weights.view<const double, 2>();
  const auto out = matrix.view<double, 2>();
  for (Index i = 0; i < n; ++i) {
    if (residual) out(i, i) = 1;
    for (Index k = 0; k < links.count(); ++k)
      if (const Index column = kernels::linked_column(links, i, k, n); column >= 0) out(i, column) += w(i, k);
  }
  return matrix;
}

Tensor numbers_of(const std::vector<Index>& list) {
  Tensor numbers = empty({std::ssize(list)}, kInt64, kCpu);
  std::copy(list.begin(), list.end(), numbers.data<std::int64_t>());
  return numbers;
}

}  // namespace

std::vector<Index> mixed_positions(const LayerSight& layer, bool mix_padding) {
  std::vector<Index> real;
  const Mask& mask = layer.in.mask;
  for (Index i = 0; i < layer.in.values.dim(1); ++i)
    if (mix_padding || !mask.defined() || mask.real.select(0, 0).slice(0, i, i + 1).item<bool>()) real.push_back(i);
  return real;
}

ParamixerFactors paramixer_factors(const LayerSight& layer, const nn::ParamixerConfig& config, Index most) {
  const NoGrad no_grad;
  const auto& attention = dynamic_cast<const nn::Paramixer&>(*layer.attention);
  const std::vector<Links>& links = attention.links();
  const std::vector<Index> real = mixed_positions(layer, config.mix_padding);
  const Index n = std::ssize(real);
  const Variable all = Variable(attention.link_weights(layer.in).value().to(kCpu).to(kFloat64));  // [M, 1, N, L]
  const Variable w = index_select(all, 2, numbers_of(real));
  ParamixerFactors made;
  made.product = nn::matrix_of({.batch = 1, .heads = 1, .positions = n, .columns = 64, .dtype = kFloat64},
                               [&](const Variable& values) {
                                 return unsqueeze(chord_chain(w, squeeze(values, 1), links, config.residual), 1);
                               })
                     .select(0, 0)
                     .select(0, 0);
  for (std::size_t m = 0; m < links.size() && n <= most; ++m)
    made.factors.push_back(dense_factor(w.value().select(0, static_cast<Index>(m)).select(0, 0).contiguous(), links[m],
                                        config.residual == nn::MixResidual::running));
  return made;
}

}  // namespace subquad::inspect
