// One config for every attention: what all of them share, then one struct for each mechanism, read by that one only.
// A choice that another one leaves unread is an Error of the mechanism, where it differs from the default.
// Each enumeration has its names, as options, presets and files spell them; parse_ throws an Error that lists them.
#pragma once

#include <string>
#include <string_view>

#include "subquad/core/dtype.h"
#include "subquad/core/shape.h"
#include "subquad/kernels/chord_matmul/links.h"
#include "subquad/kernels/pinv/pinv.h"

namespace subquad::nn {

// Nyströmformer; the formulas are in nystrom.h.
using kernels::PinvStart;
enum class NystromMask { isolated, official, huggingface, lucidrains };  // what padding does
enum class NystromSegments { automatic, per_sample, padded };            // what the landmarks are cut over
enum class NystromOrder { values_first, kernels_first };                 // F (Z (S v)) or (F Z) (S v)

PinvStart parse_pinv_start(std::string_view name);
std::string_view pinv_start_name(PinvStart start);
NystromMask parse_nystrom_mask(std::string_view name);
std::string_view nystrom_mask_name(NystromMask mask);
NystromSegments parse_nystrom_segments(std::string_view name);
std::string_view nystrom_segments_name(NystromSegments segments);
NystromOrder parse_nystrom_order(std::string_view name);
std::string_view nystrom_order_name(NystromOrder order);

struct NystromConfig {
  Index landmarks = 64;  // m
  int pinv_iterations = 6;
  PinvStart pinv_start = PinvStart::exact;
  bool detach_coefficient = false;  // no gradient through the start's coefficient
  Index conv_kernel = 35;           // taps of the skip over V, odd; 0 = no skip
  NystromMask mask = NystromMask::isolated;
  NystromSegments segments = NystromSegments::automatic;  // per_sample with isolated, padded with the others
  NystromOrder order = NystromOrder::values_first;
  bool exact_when_covered = true;  // landmarks >= N: softmax attention itself
};

// FSAT, our reconstruction; fsat.h.
enum class FsatMode { straight_through, bias };

FsatMode parse_fsat_mode(std::string_view name);
std::string_view fsat_mode_name(FsatMode mode);

struct FsatConfig {
  Index cross = 16;   // R, cross channels per head
  Index hidden = 16;  // M, of a score head
  Index lags = 64;    // diagonals that are kept
  Index columns = 32;
  Index window = 8;  // lags |t| <= window are always kept; -1 = none forced
  FsatMode mode = FsatMode::straight_through;
  bool truncate = true;          // scores send no gradient into the hidden states
  double gamma = 0;              // of the Gumbel noise on the choice while training
  Index gamma_steps = 0;         // over which gamma falls to 0; 0 = it stays, or there is none
  double attention_dropout = 0;  // on the probabilities
};

// Paramixer; paramixer.h.
enum class LinkProtocol { chord, cdil, butterfly };
enum class FactorRule { ceil, floor };  // of log2(max_length)
using kernels::MixResidual;

LinkProtocol parse_link_protocol(std::string_view name);
std::string_view link_protocol_name(LinkProtocol protocol);
FactorRule parse_factor_rule(std::string_view name);
std::string_view factor_rule_name(FactorRule rule);
MixResidual parse_mix_residual(std::string_view name);
std::string_view mix_residual_name(MixResidual residual);

struct ParamixerConfig {
  LinkProtocol protocol = LinkProtocol::chord;
  Index factors = 0;                   // 0 = by the rule
  FactorRule rule = FactorRule::ceil;  // ceil where factors is given
  Index links = 0;                     // per row; 0 = factors + 1 for chord, 9 for cdil, 2 for butterfly
  Index hidden = 32;
  MixResidual residual = MixResidual::running;
  bool mix_padding = false;  // as published: padding is mixed like tokens, masks are not read
  double link_scale = 1;     // of the first values of the link MLPs' last layer
};

// Combiner; combiner.h.
enum class CombinerPattern { fixed, logsparse, vertical, horizontal, mixture, average, rowmajor };
enum class CombinerPool { max, mean, sum, relu_max, relu_mean, relu_sum, deepset_max, deepset_mean, deepset_sum };
enum class CombinerSummary { none, wsum, proj, wsum_proj };

CombinerPattern parse_combiner_pattern(std::string_view name);
std::string_view combiner_pattern_name(CombinerPattern pattern);
CombinerPool parse_combiner_pool(std::string_view name);
std::string_view combiner_pool_name(CombinerPool pool);
CombinerSummary parse_combiner_summary(std::string_view name);
std::string_view combiner_summary_name(CombinerSummary summary);

struct CombinerConfig {
  CombinerPattern pattern = CombinerPattern::fixed;
  Index segment =
      0;  // tokens of a segment, columns of a grid; 0 = the power of two next to sqrt(max_length); 0 for logsparse
  CombinerPool pool = CombinerPool::max;            // fixed
  CombinerSummary summary = CombinerSummary::proj;  // rowmajor; proj with all others
  bool own_span = false;                            // fixed, rowmajor: as published TensorFlow code
  double attention_dropout = 0;                     // on p(j | S) and on the direct weights
};

// Softmax attention to the neighbours alone, a baseline; local.h.
struct LocalConfig {
  Index window = 32;  // query i sees keys i - window ... i + window
};

struct AttentionConfig {
  std::string kind = "softmax";
  Index width = 0;       // D
  Index heads = 1;       // H
  Index head_width = 0;  // E; 0 = width / heads, which must then be whole
  Index max_length = 0;  // longest sequence; needed by paramixer, and by combiner for a segment of its own choice
  bool bias = true;      // in the projections
  bool causal = false;
  double dropout = 0;  // on the output

  NystromConfig nystrom = {};
  FsatConfig fsat = {};
  ParamixerConfig paramixer = {};
  CombinerConfig combiner = {};
  LocalConfig local = {};
};

}  // namespace subquad::nn
