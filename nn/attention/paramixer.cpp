#include "subquad/nn/attention/paramixer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "subquad/autograd/ops/compact.h"
#include "subquad/autograd/ops/shape.h"

namespace subquad::nn {

namespace {

constexpr Index kMostFactors = 40;  // 2^40 positions are more than any memory holds

Index factors_of(const AttentionConfig& config) {
  const ParamixerConfig& own = config.paramixer;
  if (own.factors < 0 || own.factors > kMostFactors)
    throw Error(cat("paramixer: factors is ", own.factors, ", expected 1 to ", kMostFactors, ", or 0 for the rule"));
  if (own.factors > 0 && own.rule != FactorRule::ceil)
    throw Error(cat("paramixer: rule is ", factor_rule_name(own.rule), " and factors is ", own.factors,
                    ", expected ceil, which is the default, or factors 0: a given number is not rounded"));
  if (own.factors > 0) return own.factors;
  if (config.max_length < 1)
    throw Error(cat("paramixer: max_length is ", config.max_length,
                    ", expected at least 1: the number of factors is its log2 (or give factors)"));
  return factor_count(config.max_length, own.rule);
}

std::vector<Links> chord_of(Index factors, Index links) {
  const Index count = links == 0 ? factors + 1 : links;
  if (count < 1 || count > 63)
    throw Error(cat("paramixer: links is ", links, ", expected 1 to 63 for chord, or 0 for factors + 1"));
  return std::vector<Links>(static_cast<std::size_t>(factors), kernels::chord_links(count));
}

std::vector<Links> cdil_of(Index factors, Index links) {
  const Index count = links == 0 ? 9 : links;
  if (count < 3 || count % 2 == 0 || count > 1023)
    throw Error(cat("paramixer: links is ", links, ", expected an odd number from 3 to 1023 for cdil, or 0 for 9"));
  std::vector<Links> all;
  for (Index m = 0; m < factors; ++m) all.push_back(kernels::cdil_links(Index{1} << m, count));
  return all;
}

std::vector<Links> butterfly_of(Index factors, Index links) {
  if (links != 0 && links != 2)
    throw Error(cat("paramixer: links is ", links, ", expected 2 for butterfly, or 0, which means 2"));
  std::vector<Links> all;
  for (Index m = 0; m < factors; ++m) all.push_back(kernels::butterfly_links(Index{1} << m));
  return all;
}

std::vector<Links> links_of(const AttentionConfig& config) {
  if (config.heads != 1)
    throw Error(cat("paramixer: heads is ", config.heads, ", expected 1: all features share one mixing matrix"));
  if (config.head_width != 0 && config.head_width != config.width)
    throw Error(cat("paramixer: head_width is ", config.head_width, ", expected 0 or the width, ", config.width));
  if (config.causal)
    throw Error("paramixer: causal is true, expected false: links run round the sequence and reach later positions");
  if (!config.bias) throw Error("paramixer: bias is false, expected true: its perceptrons have biases in both layers");
  if (config.paramixer.hidden < 1)
    throw Error(cat("paramixer: hidden is ", config.paramixer.hidden, ", expected at least 1"));
  if (!std::isfinite(config.paramixer.link_scale))
    throw Error(cat("paramixer: link_scale is ", config.paramixer.link_scale, ", expected a finite number"));
  const Index factors = factors_of(config), links = config.paramixer.links;
  switch (config.paramixer.protocol) {
    case LinkProtocol::chord: return chord_of(factors, links);
    case LinkProtocol::cdil: return cdil_of(factors, links);
    case LinkProtocol::butterfly: return butterfly_of(factors, links);
  }
  throw InternalError("paramixer: unknown protocol");
}

}  // namespace

Index factor_count(Index length, FactorRule rule) {
  const auto n = static_cast<std::uint64_t>(length);
  const Index log2 = static_cast<Index>(rule == FactorRule::ceil ? std::bit_width(n - 1) : std::bit_width(n) - 1);
  return std::max<Index>(1, log2);
}

namespace {

// n sets of positions, a bit for each.
class PositionSets {
 public:
  explicit PositionSets(Index positions)
      : words_((static_cast<std::size_t>(positions) + 63) / 64), bits_(static_cast<std::size_t>(positions) * words_) {}

  void insert(Index set, Index position) { row(set)[position / 64] |= std::uint64_t{1} << (position % 64); }

  void unite(Index set, const PositionSets& other, Index with) {
    for (std::size_t w = 0; w < words_; ++w) row(set)[w] |= other.bits_[static_cast<std::size_t>(with) * words_ + w];
  }

  Index count(Index set) {
    Index sum = 0;
    for (std::size_t w = 0; w < words_; ++w) sum += std::popcount(row(set)[w]);
    return sum;
  }

 private:
  std::uint64_t* row(Index set) { return bits_.data() + static_cast<std::size_t>(set) * words_; }

  std::size_t words_;
  std::vector<std::uint64_t> bits_;
};

}  // namespace

std::vector<std::vector<Index>> link_reach(const std::vector<Links>& links, MixResidual residual, Index positions) {
  PositionSets nothing(positions), itself(positions);
  for (Index i = 0; i < positions; ++i) itself.insert(i, i);
  PositionSets reached = itself;
  std::vector<std::vector<Index>> counts;
  for (const Links& factor : links) {
    PositionSets next = residual == MixResidual::running ? reached : residual == MixResidual::fixed ? itself : nothing;
    std::vector<Index>& count = counts.emplace_back();
    for (Index i = 0; i < positions; ++i) {
      for (Index k = 0; k < factor.count(); ++k) {
        const Index column = kernels::linked_column(factor, i, k, positions);
        if (column >= 0) next.unite(i, reached, column);
      }
      count.push_back(next.count(i));
    }
    reached = std::move(next);
  }
  return counts;
}

Paramixer::Paramixer(const Place& place, const AttentionConfig& config)
    : Attention(place, config),
      links_(links_of(config)),
      residual_(config.paramixer.residual),
      mix_padding_(config.paramixer.mix_padding),
      g_(child("g"), {.inputs = width(), .hidden = config.paramixer.hidden, .outputs = width()}),
      f_(child("f"), {.factors = static_cast<Index>(links_.size()),
                      .inputs = width(),
                      .hidden = config.paramixer.hidden,
                      .outputs = links_.front().count(),
                      .second_scale = config.paramixer.link_scale}),
      dropout_(child("dropout"), config.dropout) {}

Variable Paramixer::link_weights(const AttentionInput& in) const {
  return f_(contiguous(in.data), mask_of(in));
}

Heads Paramixer::project(const AttentionInput& in) const {
  const Variable v = g_(contiguous(in.values), mask_of(in));  // [1, B, N, D]
  return {.q = {}, .k = {}, .v = transpose(v, 0, 1)};         // [B, 1, N, D]
}

Variable Paramixer::mix(const AttentionInput& in, const Heads& /*heads*/, const Variable& values,
                        bool /*draws*/) const {
  return through(links_, in, values);
}

Variable Paramixer::through(const std::vector<Links>& first, const AttentionInput& in, const Variable& values) const {
  // Indices run modulo the number of real positions, which must therefore stand in front.
  const Mask mask = mask_of(in), front = kernels::compact(mask);
  Variable w = f_(compact(contiguous(in.data), mask), front);  // [M, B, N, L]
  if (first.size() < links_.size()) w = slice(w, 0, 0, static_cast<Index>(first.size()));
  const Variable v0 = compact(contiguous(squeeze(values, 1)), mask);               // [B, N, C]
  return unsqueeze(spread(chord_chain(w, v0, first, residual_, front), mask), 1);  // [B, 1, N, C]
}

Tensor Paramixer::partial_matrix(const AttentionInput& in, Index factors) const {
  const auto most = static_cast<Index>(links_.size());
  if (factors < 1 || factors > most)
    throw Error(cat("paramixer: factors is ", factors, ", expected 1 to ", most, ", what '", path(), "' has"));
  const ModuleScope scope = enter();
  const std::vector<Links> first(links_.begin(), links_.begin() + factors);
  return matrix_of(matrix_inputs(in), [&](const Variable& values) { return through(first, in, values); });
}

std::vector<std::vector<Index>> Paramixer::reach(Index positions) const {
  return link_reach(links_, residual_, positions);
}

Variable Paramixer::output(const AttentionInput& in, const Variable& mixed) const {
  return dropout_(squeeze(mixed, 1), in.rng);  // [B, N, D]
}

}  // namespace subquad::nn
