#include "subquad/autograd/ops/segment_mean.h"

#include "subquad/autograd/record.h"

namespace subquad {

namespace {

// The tensors whose means are wanted.
std::vector<Tensor> averaged(const std::vector<MeanInput>& inputs) {
  std::vector<Tensor> xs;
  for (const MeanInput& input : inputs)
    if (input.mean) xs.push_back(input.x.value());
  return xs;
}

std::vector<MeanResult> record_means(const std::vector<MeanInput>& inputs, const std::vector<Tensor>& means,
                                     const Tensor& starts, const Mask& mask, MeanDivisor divisor) {
  std::vector<Variable> xs;
  std::vector<Tensor> outs;
  for (const MeanInput& input : inputs) xs.push_back(input.x);
  std::size_t number = 0;
  for (const MeanInput& input : inputs) {  // per input its mean, if it has one, then its uses
    if (input.mean) outs.push_back(means[number++]);
    outs.insert(outs.end(), input.uses, input.x.value());
  }
  struct Kind {
    bool mean;
    std::size_t uses;
  };
  std::vector<Kind> kinds;
  for (const MeanInput& input : inputs) kinds.push_back({input.mean, input.uses});
  const Index positions = inputs.empty() ? 0 : inputs[0].x.dim(2);
  // dx[i] = dmean[segment of i] / divisor at real positions i, and what its uses got         [B, H, N, C]
  const auto backward = [kinds = std::move(kinds), starts = Saved(starts), real = Saved(mask.real),
                         lengths = Saved(mask.lengths), prefix = mask.prefix, positions,
                         divisor](std::span<const Tensor> douts, Grads& grads) {
    std::vector<kernels::MeanGrad> terms;
    std::vector<int> of;
    std::size_t at = 0;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      kernels::MeanGrad term;
      if (kinds[i].mean) term.dout = douts[at++];
      for (std::size_t u = 0; u < kinds[i].uses; ++u, ++at)
        if (douts[at].defined()) term.uses.push_back(douts[at]);
      const int input = static_cast<int>(i);
      if (!grads.wanted(input) || (!term.dout.defined() && term.uses.empty())) continue;
      if (!term.dout.defined() && term.uses.size() == 1) {
        grads.add(input, term.uses[0]);
        continue;
      }
      terms.push_back(std::move(term));
      of.push_back(input);
    }
    const Mask same_mask = {real, lengths, prefix};
    const std::vector<Tensor> dxs = kernels::segment_means_grad(terms, starts, positions, same_mask, divisor);
    for (std::size_t i = 0; i < dxs.size(); ++i) grads.add(of[i], dxs[i]);
  };
  const std::vector<Variable> results = record("segment_mean", std::move(outs), xs, backward);
  std::vector<MeanResult> sorted;
  std::size_t at = 0;
  for (const MeanInput& input : inputs) {
    MeanResult result;
    if (input.mean) result.mean = results[at++];
    for (std::size_t u = 0; u < input.uses; ++u) result.uses.push_back(results[at++]);
    sorted.push_back(std::move(result));
  }
  return sorted;
}

}  // namespace

Variable segment_mean(const Variable& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor) {
  return segment_means({{.x = x}}, starts, mask, divisor)[0].mean;
}

std::vector<MeanResult> segment_means(const std::vector<MeanInput>& inputs, const Tensor& starts, const Mask& mask,
                                      MeanDivisor divisor) {
  const std::vector<Tensor> means = kernels::segment_means(averaged(inputs), starts, mask, divisor);
  return record_means(inputs, means, starts, mask, divisor);
}

RealMeanResults segment_means_of_real(const std::vector<MeanInput>& inputs, const Mask& mask, Index segments) {
  const kernels::RealSegmentMeans r = kernels::segment_means_of_real(averaged(inputs), mask, segments);
  return {r.cut, record_means(inputs, r.means, r.cut.starts, mask, MeanDivisor::real)};
}

}  // namespace subquad
