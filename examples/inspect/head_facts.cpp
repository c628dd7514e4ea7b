#include "subquad/examples/inspect/head_facts.h"

#include <algorithm>
#include <cmath>

#include "subquad/examples/inspect/paramixer_factors.h"
#include "subquad/examples/inspect/row_facts.h"
#include "subquad/examples/inspect/singular_values.h"
#include "subquad/examples/inspect/softmax_matrix.h"
#include "subquad/kernels/copy/copy.h"
#include "subquad/nn/attention/matrix_of.h"
#include "subquad/nn/attention/nystrom.h"

namespace subquad::inspect {

namespace {

Known known(const std::string& name, const Tensor& matrix) {
  return {.name = name,
          .matrix = matrix,
          .singular = {},
          .entropy = row_entropy(matrix),
          .sums = row_sums(matrix),
          .mass = mass_by_distance(matrix)};
}

std::vector<double> numbers_of(const Tensor& values) {
  const auto all = values.span<double>();
  return {all.begin(), all.end()};
}

// Of a Paramixer in float64, of the same weights: its product is so badly conditioned that float32 hides its rank.
void find_precise(const LayerSight& layer, const nn::AttentionConfig& config, Known& mixing) {
  mixing.singular = numbers_of(singular_values(paramixer_factors(layer, config.paramixer, 0).product));
  mixing.precise = true;
}

// All at once: they are worked on side by side.
void find_singular_values(std::vector<HeadFacts>& heads) {
  std::vector<Known*> all;
  for (HeadFacts& head : heads)
    for (Known& one : head.matrices)
      if (!one.precise) all.push_back(&one);
  if (all.empty()) return;
  const Index n = all.front()->matrix.dim(0);
  Tensor stack = empty({std::ssize(all), n, n}, kFloat32, kCpu);
  for (std::size_t i = 0; i < all.size(); ++i) {
    Tensor place = stack.select(0, static_cast<Index>(i));
    copy(all[i]->matrix, place);
  }
  const Tensor values = singular_values(stack);  // [K, N]
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto row = values.span<double>().subspan(i * static_cast<std::size_t>(n), static_cast<std::size_t>(n));
    all[i]->singular.assign(row.begin(), row.end());
  }
}

// Rows of real tokens of q or k [1, H, N, E].
Tensor real_rows(const Variable& rows, Index head, const Mask& mask) {
  const Tensor all = rows.value().to(kCpu).select(0, 0).select(0, head);
  if (!mask.defined()) return all;
  std::vector<Tensor> real;
  for (Index i = 0; i < all.dim(0); ++i)
    if (mask.real.select(0, 0).slice(0, i, i + 1).item<bool>()) real.push_back(all.slice(0, i, i + 1));
  return real.empty() ? all.slice(0, 0, 0) : kernels::concat(real, 0);
}

void find_logits(const LayerSight& layer, std::vector<HeadFacts>& heads) {
  const NoGrad no_grad;
  const nn::Heads projected = layer.attention->project(layer.in);
  if (!projected.q.defined()) return;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    const auto head = static_cast<Index>(h);
    heads[h].logits = product_singular_values(real_rows(projected.q, head, layer.in.mask),
                                              real_rows(projected.k, head, layer.in.mask));
    heads[h].width = layer.attention->head_width();
    for (double& s : heads[h].logits) s /= std::sqrt(static_cast<double>(heads[h].width));
  }
}

Tensor without_convolution(const nn::NystromAttention& attention, const nn::AttentionInput& in,
                           const nn::Heads& heads) {
  const auto mix = [&](const Variable& values) {
    return nn::nystrom_attention(heads.q, heads.k, values, {}, in.mask, attention.config());
  };
  return nn::matrix_of({.batch = 1,
                        .heads = attention.heads(),
                        .positions = in.values.dim(1),
                        .columns = attention.head_width(),
                        .dtype = attention.dtype(),
                        .device = attention.device()},
                       mix)
      .to(kCpu)
      .select(0, 0);
}

}  // namespace

LayerMatrices layer_matrices(const LayerSight& layer, const nn::AttentionConfig& config) {
  const NoGrad no_grad;
  LayerMatrices made{.mixing = layer.attention->mixing_matrix(layer.in).to(kCpu).select(0, 0)};
  const nn::Heads heads = layer.attention->project(layer.in);
  const auto* nystrom = dynamic_cast<const nn::NystromAttention*>(layer.attention);
  if (nystrom && nystrom->taps().defined()) made.alone = without_convolution(*nystrom, layer.in, heads);
  if (heads.q.defined())
    made.softmax = softmax_matrix(heads.q.value(), heads.k.value(), layer.in.mask, config.causal).select(0, 0);
  return made;
}

std::vector<HeadFacts> head_facts(const LayerSight& layer, const LayerMatrices& matrices,
                                  const nn::AttentionConfig& config) {
  std::vector<HeadFacts> all;
  for (Index h = 0; h < matrices.mixing.dim(0); ++h) {
    std::vector<Known>& known_of = all.emplace_back().matrices;
    known_of.push_back(known(kMixing, matrices.mixing.select(0, h)));
    if (matrices.alone.defined()) known_of.push_back(known(kAlone, matrices.alone.select(0, h)));
    if (matrices.softmax.defined()) known_of.push_back(known(kSoftmax, matrices.softmax.select(0, h)));
  }
  find_logits(layer, all);
  if (matrices.mixing.dim(1) <= kMostSingular) {
    if (config.kind == "paramixer") find_precise(layer, config, all[0].matrices[0]);
    find_singular_values(all);
  }
  return all;
}

const Known* named(const HeadFacts& head, const std::string& name) {
  const auto found = std::ranges::find(head.matrices, name, &Known::name);
  return found == head.matrices.end() ? nullptr : &*found;
}

const Known& approximation(const HeadFacts& head) {
  const Known* alone = named(head, kAlone);
  return alone ? *alone : head.matrices[0];
}

}  // namespace subquad::inspect
