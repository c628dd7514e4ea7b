#include "subquad/autograd/ops/linear.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/linear/linear_group.h"

namespace subquad {

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  const Tensor b = bias.defined() ? bias.value() : Tensor();
  // dx      [..., I] = dout weight^T
  // dweight [I, O]   = sum over rows of x^T dout
  // dbias   [O]      = sum over rows of dout
  return record("linear", kernels::linear(x.value(), weight.value(), b), {x, weight, bias},
                [x = Saved(x), w = Saved(weight)](const Tensor& dout, Grads& grads) {
                  if (grads.wanted(0)) grads.add(0, kernels::linear(dout, w.get().transpose(0, 1), Tensor()));
                  if (grads.wanted(1)) grads.add(1, kernels::linear_grad_weight(dout, x));
                  if (grads.wanted(2)) grads.add(2, kernels::linear_grad_bias(dout));
                });
}

std::vector<Variable> linear_group(const Variable& x, const std::vector<Variable>& weights,
                                   const std::vector<Variable>& biases) {
  const std::size_t count = weights.size();
  std::vector<Variable> inputs = {x};
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  inputs.insert(inputs.end(), biases.begin(), biases.end());
  std::vector<Tensor> w, b, outs;
  for (const Variable& weight : weights) w.push_back(weight.value());
  for (const Variable& bias : biases) b.push_back(bias.defined() ? bias.value() : Tensor());
  const Tensor out = kernels::linear_group(x.value(), w, b);
  for (std::size_t s = 0; s < count; ++s) outs.push_back(out.select(0, static_cast<Index>(s)));
  std::vector<Saved> saved(w.begin(), w.end());
  // dx = sum_s dout_s weight_s^T      dweight_s = x^T dout_s      dbias_s = sum over rows of dout_s
  return record("linear_group", std::move(outs), inputs,
                [x = Saved(x), saved = std::move(saved), count](std::span<const Tensor> douts, Grads& grads) {
                  std::vector<Tensor> used, maps;  // those whose results somebody used
                  std::vector<int> number;
                  for (std::size_t s = 0; s < count; ++s) {
                    if (!douts[s].defined()) continue;
                    used.push_back(douts[s]);
                    maps.push_back(saved[s]);
                    number.push_back(static_cast<int>(s));
                  }
                  if (grads.wanted(0)) grads.add(0, kernels::linear_group_grad_input(used, maps));
                  std::vector<Tensor> learning;  // those of the maps whose weights want a gradient
                  std::vector<int> of;
                  bool biased = false;
                  for (std::size_t i = 0; i < used.size(); ++i) {
                    const int weight = 1 + number[i], bias = weight + static_cast<int>(count);
                    if (grads.wanted(weight)) {
                      learning.push_back(used[i]);
                      of.push_back(weight);
                    }
                    biased = biased || grads.wanted(bias);
                  }
                  if (!learning.empty()) {
                    const std::vector<Tensor> dweights = kernels::linear_group_grad_weights(learning, x);
                    for (std::size_t i = 0; i < of.size(); ++i) grads.add(of[i], dweights[i]);
                  }
                  if (!biased) return;
                  const Tensor parts = kernels::linear_group_grad_bias_parts(used);
                  for (std::size_t i = 0; i < used.size(); ++i)
                    grads.add_parts(1 + number[i] + static_cast<int>(count), parts.select(0, static_cast<Index>(i)));
                });
}

}  // namespace subquad
