#include "subquad/examples/compare/picked_module.h"

#include "subquad/examples/compare/work.h"

namespace subquad::compare {

namespace {

Tensor hidden_states(const Inputs& in) {  // [1, N, 3 E]
  const Index width = in.width();
  Tensor x = empty({1, in.positions(), 3 * width}, kFloat32, kCpu);
  Index at = 0;
  for (const Tensor& part : {in.q, in.k, in.v}) {
    Tensor place = x.select(0, 0).slice(1, at, at + width);
    copy(part, place);
    at += width;
  }
  return x;
}

// The E x E identity at rows part E ... of zeros [3 E, E].
Tensor picks(int part, Index width) {
  Tensor weight = zeros({3 * width, width}, kFloat32, kCpu);
  for (Index e = 0; e < width; ++e) weight.data<float>()[(part * width + e) * width + e] = 1;
  return weight;
}

}  // namespace

nn::AttentionConfig picked_config(nn::AttentionConfig config, const Inputs& in, FsatCross cross) {
  const bool paramixer = config.kind == "paramixer";
  config.width = 3 * in.width();
  config.heads = 1;
  config.head_width = paramixer ? 0 : in.width();
  config.bias = paramixer;
  config.max_length = in.positions();
  if (config.kind == "nystrom") config.nystrom.conv_kernel = 0;
  if (config.kind == "fsat" && cross == FsatCross::queries_and_keys) config.fsat.cross = in.width();
  return config;
}

double picked_flops(const nn::AttentionConfig& config, const Inputs& in, FsatCross cross) {
  nn::AttentionConfig narrow = picked_config(config, in, cross);
  narrow.width = in.width();
  const double all = flops_per_query(narrow, in.positions());
  return cross == FsatCross::queries_and_keys ? all - cross_projection_flops(narrow) : all;
}

Tensor picked_matrix(const nn::AttentionConfig& config, const Inputs& in, std::uint64_t seed, FsatCross cross) {
  const nn::AttentionConfig whole = picked_config(config, in, cross);
  const auto module = nn::make_attention(nn::Place(seed, kFloat32, kCpu), whole);
  module->eval();
  nn::StateDict state = module->state_dict();
  const auto set = [&](const std::string& name, int part) { copy(picks(part, in.width()), state.at(name)); };
  if (whole.kind != "paramixer") {
    set("query.weight", 0);
    set("key.weight", 1);
    set("value.weight", 2);
  }
  if (whole.kind == "fsat" && cross == FsatCross::queries_and_keys) {
    set("cross_a.weight", 0);
    set("cross_b.weight", 1);
  }
  const Variable x(hidden_states(in));
  return module->mixing_matrix({.values = x, .data = x, .mask = {}, .rng = {}})
      .reshape({in.positions(), in.positions()});
}

}  // namespace subquad::compare
