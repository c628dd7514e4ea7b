#include "subquad/examples/lra/attention_options.h"

#include <algorithm>

#include "subquad/examples/lra/options.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::lra {

namespace {

void add_shared(CLI::App& app, nn::AttentionConfig& a) {
  app.add_option("--attention", a.kind, "How positions see each other")
      ->type_name("NAME")
      ->check(available(nn::attention_kinds()));
  add_whole(app, "--heads", a.heads, 1, kMostFeatures, "Attention heads; divides the width");
  add_whole(app, "--head-width", a.head_width, 0, kMostFeatures, "Features per head; 0: width / heads");
  add_truth(app, "--attention-bias", a.bias, "In the projections before and after");
  app.add_flag("--causal", a.causal, "A position sees itself and what is before it");
}

void add_nystrom(CLI::App& app, nn::AttentionConfig& a) {
  nn::NystromConfig& n = a.nystrom;
  add_whole(app, "--landmarks", n.landmarks, 1, kMostPositions, "Segments whose means stand for all positions");
  add_whole(app, "--pinv-iterations", n.pinv_iterations, 1, 20, "Steps of the pseudo-inverse");
  add_choice(app, "--pinv-start", n.pinv_start, nn::parse_pinv_start, nn::pinv_start_name,
             "exact (per matrix), original or product (one coefficient for the whole batch)");
  app.add_flag("--detach-coefficient", n.detach_coefficient, "No gradient through the start's coefficient");
  add_whole(app, "--conv-kernel", n.conv_kernel, 0, kMostPositions, "Taps of the skip over values, odd; 0: no skip");
  add_choice(app, "--nystrom-mask", n.mask, nn::parse_nystrom_mask, nn::nystrom_mask_name,
             "isolated (padding changes nothing), or as published: official, huggingface, lucidrains");
  add_choice(app, "--nystrom-segments", n.segments, nn::parse_nystrom_segments, nn::nystrom_segments_name,
             "automatic, per_sample (cut over the real tokens) or padded");
  add_choice(app, "--nystrom-order", n.order, nn::parse_nystrom_order, nn::nystrom_order_name,
             "values_first: F (Z (B V)); kernels_first: (F Z) (B V)");
  add_truth(app, "--exact-when-covered", n.exact_when_covered, "landmarks >= N is softmax attention itself");
}

void add_fsat(CLI::App& app, nn::AttentionConfig& a) {
  nn::FsatConfig& f = a.fsat;
  add_whole(app, "--cross", f.cross, 1, kMostFeatures, "Cross channels per head");
  add_whole(app, "--fsat-hidden", f.hidden, 1, kMostFeatures, "Hidden features of a score head");
  add_whole(app, "--lags", f.lags, 0, kMostPositions, "Diagonals that are kept");
  add_whole(app, "--columns", f.columns, 0, kMostPositions, "Columns that are kept");
  app.add_option("--fsat-window", f.window, "Lags up to this are always kept; -1: none is")
      ->type_name("N")
      ->check(whole_or_minus_one(0, kMostPositions));
  add_choice(app, "--fsat-mode", f.mode, nn::parse_fsat_mode, nn::fsat_mode_name,
             "straight_through or bias: how the scores of the choice are learnt");
  add_truth(app, "--truncate", f.truncate, "Scores send no gradient into the hidden states");
  add_number(app, "--gamma", f.gamma, at_least(0), "Gumbel noise on the choice while training");
  add_whole(app, "--gamma-steps", f.gamma_steps, 0, kMostSteps, "Steps over which gamma falls to 0; 0: it stays");
  add_number(app, "--fsat-dropout", f.attention_dropout, between(0, 0.99), "On its attention probabilities");
}

void add_paramixer(CLI::App& app, nn::AttentionConfig& a) {
  nn::ParamixerConfig& p = a.paramixer;
  add_choice(app, "--protocol", p.protocol, nn::parse_link_protocol, nn::link_protocol_name,
             "Which positions a factor links: chord, cdil or butterfly");
  add_whole(app, "--factors", p.factors, 0, 40, "Sparse factors; 0: by the rule");
  add_choice(app, "--factor-rule", p.rule, nn::parse_factor_rule, nn::factor_rule_name,
             "ceil or floor of log2(max-length)");
  add_whole(app, "--links", p.links, 0, 1023, "Links per row; 0: factors + 1 for chord, 9 for cdil, 2 for butterfly");
  add_whole(app, "--link-hidden", p.hidden, 1, kMostFeatures, "Hidden features of the MLPs for links and values");
  add_choice(app, "--residual", p.residual, nn::parse_mix_residual, nn::mix_residual_name,
             "Added after each factor: running (what went in), fixed (the first values) or none");
  app.add_flag("--paramixer-mix-padding", p.mix_padding, "Links reach padding, too, as published");
  add_number(app, "--link-scale", p.link_scale, at_least(0), "Of the first values of the link MLPs' last layer");
}

void add_combiner(CLI::App& app, nn::AttentionConfig& a) {
  nn::CombinerConfig& c = a.combiner;
  add_choice(app, "--combiner-pattern", c.pattern, nn::parse_combiner_pattern, nn::combiner_pattern_name,
             "fixed, logsparse, vertical, horizontal, mixture, average or rowmajor");
  add_whole(app, "--segment", c.segment, 0, kMostPositions,
            "Tokens of a segment, columns of a grid; 0: the power of two next to sqrt(max-length)");
  add_choice(app, "--combiner-pool", c.pool, nn::parse_combiner_pool, nn::combiner_pool_name,
             "fixed: max, mean or sum; with relu_ or deepset_ before it, too");
  add_choice(app, "--combiner-summary", c.summary, nn::parse_combiner_summary, nn::combiner_summary_name,
             "rowmajor: none, wsum, proj or wsum_proj");
  app.add_flag("--own-span", c.own_span, "fixed, rowmajor: the own span counts twice, as in published TensorFlow code");
  add_number(app, "--combiner-dropout", c.attention_dropout, between(0, 0.99),
             "On its local expectations' and its direct weights");
}

void add_local(CLI::App& app, nn::AttentionConfig& a) {
  nn::LocalConfig& l = a.local;
  add_whole(app, "--local-window", l.window, 0, kMostPositions, "Positions that are seen to either side");
}

// --help sorts by these, and an option of one mechanism is refused where another one is chosen.
struct Mechanism {
  std::string_view kind;
  void (*add)(CLI::App& app, nn::AttentionConfig& config);
};
constexpr Mechanism kMechanisms[] = {{"nystrom", add_nystrom},
                                     {"fsat", add_fsat},
                                     {"paramixer", add_paramixer},
                                     {"combiner", add_combiner},
                                     {"local", add_local}};

std::string title(const Mechanism& mechanism) {
  return cat("Attention ", mechanism.kind);
}

}  // namespace

void add_attention_options(CLI::App& app, nn::AttentionConfig& config) {
  {
    const OptionGroup group(app, "Attention");
    add_shared(app, config);
  }
  for (const Mechanism& mechanism : kMechanisms) {
    const OptionGroup group(app, title(mechanism));
    mechanism.add(app, config);
  }
}

std::vector<UnreadOption> unread_attention_options(const CLI::App& app, const nn::AttentionConfig& config) {
  std::vector<UnreadOption> unread;
  for (const Mechanism& other : kMechanisms) {
    if (other.kind == config.kind) continue;
    const auto group = unread_group(app, title(other), cat("--attention ", other.kind, "; this is ", config.kind));
    unread.insert(unread.end(), group.begin(), group.end());
  }
  const nn::CombinerConfig& c = config.combiner;
  if (config.kind == "combiner" && c.pattern != nn::CombinerPattern::rowmajor)
    unread.push_back(
        {"--combiner-summary", cat("--combiner-pattern rowmajor; this is ", nn::combiner_pattern_name(c.pattern))});
  if (config.kind == "combiner" && c.pattern == nn::CombinerPattern::logsparse)
    unread.push_back({"--segment", "any other --combiner-pattern; this is logsparse"});
  if (config.kind == "fsat" && config.fsat.gamma == 0)
    unread.push_back({"--gamma-steps", "--gamma above 0; this is 0"});
  if (config.kind == "paramixer" && config.paramixer.factors > 0)
    unread.push_back({"--factor-rule", cat("--factors 0; this is ", config.paramixer.factors)});
  return unread;
}

void check_attention(const CLI::App& app, const nn::AttentionConfig& config) {
  refuse_unread(app, unread_attention_options(app, config));
  if (config.head_width == 0 && config.width % config.heads != 0)
    throw OptionError(cat("--width ", config.width, " does not divide by --heads ", config.heads));
  try {
    nn::make_attention(nn::Place(1, kFloat32, kCpu), config);
  } catch (const Error& error) {
    throw OptionError(error.what());
  }
}

}  // namespace subquad::lra
