#include "subquad/autograd/ops/linear.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/linear/linear_group.h"
#include "subquad/kernels/linear/operands.h"

namespace subquad {

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  const Tensor b = bias.defined() ? bias.value() : Tensor();
  // dx      [..., I] = dout weight^T
  // dweight [I, O]   = sum over rows of x^T dout
  // dbias   [O]      = sum over rows of dout
  const std::vector<Tensor> read = kernels::product_operands({x.value(), weight.value()});
  return record("linear", kernels::linear(read[0], read[1], b), {x, weight, bias},
                [x = Saved(read[0]), w = Saved(read[1])](const Tensor& dout, Grads& grads) {
                  const bool product = grads.wanted(0) || grads.wanted(1);
                  const Tensor up = product ? kernels::product_operands({dout})[0] : Tensor();
                  if (grads.wanted(0)) grads.add(0, kernels::linear(up, w.get().transpose(0, 1), Tensor()));
                  if (grads.wanted(1)) grads.add(1, kernels::linear_grad_weight(up, x));
                  if (grads.wanted(2)) grads.add(2, kernels::linear_grad_bias(dout));
                });
}

namespace {

// dx = sum_s dout_s weight_s^T      dweight_s = x^T dout_s      dbias_s = sum over rows of dout_s
void linear_group_backward(const Tensor& x, const std::vector<Saved>& weights, std::span<const Tensor> douts,
                           Grads& grads) {
  const auto weight_input = [](std::size_t s) { return 1 + static_cast<int>(s); };
  const auto bias_input = [&](std::size_t s) { return weight_input(weights.size() + s); };
  std::vector<std::size_t> used, learning;  // the maps whose results somebody used, and whose weights learn
  std::vector<Tensor> own_douts;
  bool biased = false;
  for (std::size_t s = 0; s < weights.size(); ++s) {
    if (!douts[s].defined()) continue;
    used.push_back(s);
    own_douts.push_back(douts[s]);
    if (grads.wanted(weight_input(s))) learning.push_back(s);
    biased = biased || grads.wanted(bias_input(s));
  }
  const bool products = grads.wanted(0) || !learning.empty();
  const std::vector<Tensor> ups = products ? kernels::group_operands(own_douts) : own_douts;
  std::vector<Tensor> maps, learning_ups;
  for (std::size_t i = 0; i < used.size(); ++i) {
    maps.push_back(weights[used[i]]);
    if (grads.wanted(weight_input(used[i]))) learning_ups.push_back(ups[i]);
  }
  if (grads.wanted(0)) grads.add(0, kernels::linear_group_grad_input(ups, maps));
  if (!learning.empty()) {
    const std::vector<Tensor> dweights = kernels::linear_group_grad_weights(learning_ups, x);
    for (std::size_t i = 0; i < learning.size(); ++i) grads.add(weight_input(learning[i]), dweights[i]);
  }
  if (!biased) return;
  const Tensor parts = kernels::linear_group_grad_bias_parts(own_douts);
  for (std::size_t i = 0; i < used.size(); ++i)
    grads.add_parts(bias_input(used[i]), parts.select(0, static_cast<Index>(i)));
}

}  // namespace

std::vector<Variable> linear_group(const Variable& x, const std::vector<Variable>& weights,
                                   const std::vector<Variable>& biases) {
  const std::size_t count = weights.size();
  std::vector<Variable> inputs = {x};
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  inputs.insert(inputs.end(), biases.begin(), biases.end());
  std::vector<Tensor> read = {x.value()}, b, outs;
  for (const Variable& weight : weights) read.push_back(weight.value());
  for (const Variable& bias : biases) b.push_back(bias.defined() ? bias.value() : Tensor());
  read = kernels::product_operands(read);
  const std::vector<Tensor> w(read.begin() + 1, read.end());
  const Tensor out = kernels::linear_group(read[0], w, b);
  for (std::size_t s = 0; s < count; ++s) outs.push_back(out.select(0, static_cast<Index>(s)));
  return record("linear_group", std::move(outs), inputs,
                [x = Saved(read[0]), maps = std::vector<Saved>(w.begin(), w.end())](
                    std::span<const Tensor> douts, Grads& grads) { linear_group_backward(x, maps, douts, grads); });
}

}  // namespace subquad
