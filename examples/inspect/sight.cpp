#include "subquad/examples/inspect/sight.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/ops/shape.h"
#include "subquad/examples/lra/evaluation.h"
#include "subquad/nn/forward_watch.h"

namespace subquad::inspect {

namespace {

// Of a tensor [1, N, D].
std::vector<double> row_norms(const Tensor& x) {
  const Tensor rows = x.to(kCpu).to(kFloat64).contiguous();
  const auto width = static_cast<std::size_t>(rows.dim(2));
  std::vector<double> norms;
  for (Index i = 0; i < rows.dim(1); ++i) {
    double squares = 0;
    for (const double value : rows.span<double>().subspan(static_cast<std::size_t>(i) * width, width))
      squares += value * value;
    norms.push_back(std::sqrt(squares));
  }
  return norms;
}

}  // namespace

Sight look(nn::Classifier& model, const lra::Batch& batch, Index part) {
  Sight sight;
  std::vector<Variable> rows;
  model.eval();
  const lra::Batch there = batch.to(model.device());
  const Variable logits = [&] {
    const nn::ForwardWatch watch({.attention =
                                      [&](const nn::Attention& attention, const nn::AttentionInput& in) {
                                        sight.layers.push_back({&attention, in});
                                      },
                                  .rows = [&](const Variable& x) { rows.push_back(x); }});
    return model(there.ids, there.mask, RandomState());
  }();
  if (sight.layers.empty()) throw Error("the model has no attention: --layers is 0");
  const std::size_t sequences = rows.size(), layers = sight.layers.size() / sequences;
  const auto first = sight.layers.begin() + part * static_cast<Index>(layers);  // a pair's come one after the other
  sight.layers = std::vector<LayerSight>(first, first + static_cast<Index>(layers));

  const Tensor found = logits.value().to(kCpu);
  const std::span<const float> row = found.span<float>();
  if (!std::all_of(row.begin(), row.end(), [](float logit) { return std::isfinite(logit); }))
    throw Error("the model's output is not finite, so that it has no answer");
  sight.probabilities = lra::probabilities(found)[0];
  sight.predicted = lra::predictions(found)[0];
  const Variable logit = slice(logits, 1, sight.predicted, sight.predicted + 1);
  sight.gradient = row_norms(grad({logit}, {rows[static_cast<std::size_t>(part)]})[0]);
  return sight;
}

}  // namespace subquad::inspect
