#include "subquad/tests/nn/module_check.h"

namespace subquad::test {

GradcheckResult gradcheck_module(const nn::Module& module, const ModuleFn& f, std::vector<Variable> inputs) {
  const std::size_t count = inputs.size();
  std::vector<Variable> parameters = module.parameters();
  std::vector<Tensor> home;
  for (const Variable& p : parameters) {
    home.push_back(p.value());
    inputs.push_back(p);
  }
  // The checker passes moved copies; the module finds them where its parameters were, for one call.
  const auto call = [&](const std::vector<Variable>& moved) -> std::vector<Variable> {
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].bind_value(moved[count + i].value());
    Variable out = f({moved.begin(), moved.begin() + static_cast<std::ptrdiff_t>(count)});
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].bind_value(home[i]);
    return {out};
  };
  // On the interpreter in a few directions: the Jacobians stand in the tests of ops there, and in this one on the CPU.
  return gradcheck(call, inputs,
                   interpreted() ? GradcheckOptions{.full_limit = 2, .directions = 2} : GradcheckOptions{});
}

void randomise(const nn::Module& module, double deviation) {
  for (Variable& p : module.parameters()) {
    Tensor draws = empty(p.shape(), p.dtype(), kCpu);
    fill_normal(draws, 0, deviation, 5, stream_id(p.name()));
    copy(draws, p.mutable_value());
  }
}

RandomState random_state(Index batch, Index step, Index first) {
  RandomState state;
  state.seed = 3;
  state.step = full({1}, static_cast<double>(step), kInt64, device());
  Tensor samples = arange(batch, kInt64, kCpu);
  for (std::int64_t& sample : samples.span<std::int64_t>()) sample += first;
  state.samples = here(samples);
  return state;
}

Mask prefix_mask(const std::vector<std::int64_t>& lengths, Index positions) {
  return Mask::from_lengths(tensor(lengths, {static_cast<Index>(lengths.size())}), positions).to(device());
}

Tensor random_tokens(Index batch, Index positions, Index vocabulary, std::uint64_t seed) {
  Tensor tokens = empty({batch, positions}, kInt64, kCpu);
  Rng rng(seed);
  for (std::int64_t& token : tokens.span<std::int64_t>()) token = rng.below(vocabulary);
  return here(tokens);
}

}  // namespace subquad::test
