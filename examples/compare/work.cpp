#include "subquad/examples/compare/work.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/error.h"
#include "subquad/core/profile.h"
#include "subquad/kernels/block_attention/block_attention.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/nn/attention/combiner.h"
#include "subquad/nn/attention/paramixer.h"

namespace subquad::compare {

namespace {

using nn::AttentionConfig;

double number(Index count) {
  return static_cast<double>(count);
}

Index head_width(const AttentionConfig& c) {
  return c.head_width > 0 ? c.head_width : c.width / c.heads;
}

// Features of all heads together.
double features(const AttentionConfig& c) {
  return number(head_width(c) * c.heads);
}

double softmax_flops(const AttentionConfig& c, Index positions) {
  return 4 * number(positions) * features(c);
}

// F and S see m keys or queries each; A, Z (S v) and T steps of four products m x m are shared by all N queries.
double nystrom_flops(const AttentionConfig& c, Index positions) {
  const double n = number(positions), m = number(c.nystrom.landmarks), d = features(c);
  const double skip = 2 * d * number(c.nystrom.conv_kernel);
  if (m >= n && c.nystrom.exact_when_covered) return softmax_flops(c, positions) + skip;
  const double inverse = 8 * c.nystrom.pinv_iterations * m * m * m * number(c.heads);
  return 8 * m * d + (4 * m * m * d + inverse) / n + skip;
}

// The cross: two projections, three real transforms of each channel, their product; two score heads; the attention.
double fsat_flops(const AttentionConfig& c, Index positions) {
  const double r = number(c.fsat.cross), m = number(c.fsat.hidden), h = number(c.heads), channels = h * r;
  const double transforms = kernels::real_transforms(3 * c.heads * c.fsat.cross, positions).count;
  const double cross = cross_projection_flops(c) + transforms / number(positions) + 8 * channels;
  const double scores = 4 * h * (r * m + r + m);
  return cross + scores + chosen_flops(c.fsat.lags, c.fsat.columns, positions, head_width(c) * c.heads);
}

double paramixer_flops(const AttentionConfig& c, Index positions) {
  const nn::ParamixerConfig& p = c.paramixer;
  const Index longest = c.max_length > 0 ? c.max_length : positions;
  const Index factors = p.factors > 0 ? p.factors : nn::factor_count(longest, p.rule);
  Index links = p.links;
  if (links == 0)
    links = p.protocol == nn::LinkProtocol::chord ? factors + 1 : p.protocol == nn::LinkProtocol::cdil ? 9 : 2;
  const double perceptrons = 2 * number(factors * p.hidden) * (number(c.width) + number(links));
  return perceptrons + factor_flops(factors, links, c.width);
}

double combiner_flops(const AttentionConfig& c, Index positions) {
  const Index longest = c.max_length > 0 ? c.max_length : positions;
  const double d = features(c);
  if (c.combiner.pattern == nn::CombinerPattern::logsparse) {
    const double levels = std::ceil(std::log2(number(positions)));
    return 4 * d * (kernels::seen_entries({.kind = kernels::BlockKind::logsparse}, positions) + levels - 1);
  }
  if (c.combiner.pattern != nn::CombinerPattern::fixed) return counted_flops(c, positions);
  const kernels::BlockPattern pattern{.kind = kernels::BlockKind::fixed,
                                      .size = nn::combiner_segment(c.combiner, longest)};
  return 4 * d * (kernels::seen_entries(pattern, positions) + 1);  // each token is in one summary
}

double local_flops(const AttentionConfig& c, Index positions) {
  return 4 * features(c) *
         kernels::seen_entries({.kind = kernels::BlockKind::window, .size = c.local.window}, positions);
}

}  // namespace

double flops_per_query(const AttentionConfig& config, Index positions) {
  if (config.kind == "softmax") return softmax_flops(config, positions);
  if (config.kind == "nystrom") return nystrom_flops(config, positions);
  if (config.kind == "fsat") return fsat_flops(config, positions);
  if (config.kind == "paramixer") return paramixer_flops(config, positions);
  if (config.kind == "combiner") return combiner_flops(config, positions);
  if (config.kind == "local") return local_flops(config, positions);
  return counted_flops(config, positions);
}

double counted_flops(const AttentionConfig& config, Index positions) {
  const NoGrad no_grad;
  const auto module = nn::make_attention(nn::Place(1, kFloat32, kCpu), config);
  module->eval();
  const Variable x(full({1, positions, config.width}, 0.1, kFloat32, kCpu));
  const nn::AttentionInput in{.values = x, .data = x, .mask = {}, .rng = {}};
  const nn::Heads heads = module->project(in);
  const Profile profile(kCpu);
  module->mix(in, heads, heads.v, /*draws=*/false);
  double flops = 0;
  for (const OpRecord& op : profile.records()) flops += op.flops;
  return flops / number(positions);
}

double cross_projection_flops(const AttentionConfig& config) {
  return 4 * number(config.width * config.heads * config.fsat.cross);
}

double chosen_flops(Index lags, Index columns, Index positions, Index width) {
  const double kl = number(std::min(lags, positions)), kc = number(std::min(columns, positions));
  return 4 * number(width) * (kl + kc - kl * kc / number(positions));
}

double factor_flops(Index factors, Index links, Index width) {
  return 2 * number(factors) * number(links) * number(width);
}

}  // namespace subquad::compare
