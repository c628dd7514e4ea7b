#include "subquad/nn/attention/config.h"

#include "subquad/nn/choice.h"

namespace subquad::nn {

namespace {

constexpr Choices<PinvStart, 3> kPinvStarts = {
    {{"exact", PinvStart::exact}, {"original", PinvStart::original}, {"product", PinvStart::product}}};

constexpr Choices<NystromMask, 4> kNystromMasks = {{{"isolated", NystromMask::isolated},
                                                    {"official", NystromMask::official},
                                                    {"huggingface", NystromMask::huggingface},
                                                    {"lucidrains", NystromMask::lucidrains}}};

constexpr Choices<NystromSegments, 3> kNystromSegments = {{{"automatic", NystromSegments::automatic},
                                                           {"per_sample", NystromSegments::per_sample},
                                                           {"padded", NystromSegments::padded}}};

constexpr Choices<NystromOrder, 2> kNystromOrders = {
    {{"values_first", NystromOrder::values_first}, {"kernels_first", NystromOrder::kernels_first}}};

constexpr Choices<FsatMode, 2> kFsatModes = {
    {{"straight_through", FsatMode::straight_through}, {"bias", FsatMode::bias}}};

constexpr Choices<LinkProtocol, 3> kLinkProtocols = {
    {{"chord", LinkProtocol::chord}, {"cdil", LinkProtocol::cdil}, {"butterfly", LinkProtocol::butterfly}}};

constexpr Choices<FactorRule, 2> kFactorRules = {{{"ceil", FactorRule::ceil}, {"floor", FactorRule::floor}}};

constexpr Choices<MixResidual, 3> kMixResiduals = {
    {{"running", MixResidual::running}, {"fixed", MixResidual::fixed}, {"none", MixResidual::none}}};

constexpr Choices<CombinerPattern, 7> kCombinerPatterns = {{{"fixed", CombinerPattern::fixed},
                                                            {"logsparse", CombinerPattern::logsparse},
                                                            {"vertical", CombinerPattern::vertical},
                                                            {"horizontal", CombinerPattern::horizontal},
                                                            {"mixture", CombinerPattern::mixture},
                                                            {"average", CombinerPattern::average},
                                                            {"rowmajor", CombinerPattern::rowmajor}}};

constexpr Choices<CombinerPool, 9> kCombinerPools = {{{"max", CombinerPool::max},
                                                      {"mean", CombinerPool::mean},
                                                      {"sum", CombinerPool::sum},
                                                      {"relu_max", CombinerPool::relu_max},
                                                      {"relu_mean", CombinerPool::relu_mean},
                                                      {"relu_sum", CombinerPool::relu_sum},
                                                      {"deepset_max", CombinerPool::deepset_max},
                                                      {"deepset_mean", CombinerPool::deepset_mean},
                                                      {"deepset_sum", CombinerPool::deepset_sum}}};

constexpr Choices<CombinerSummary, 4> kCombinerSummaries = {{{"none", CombinerSummary::none},
                                                             {"wsum", CombinerSummary::wsum},
                                                             {"proj", CombinerSummary::proj},
                                                             {"wsum_proj", CombinerSummary::wsum_proj}}};

}  // namespace

PinvStart parse_pinv_start(std::string_view name) {
  return choose("pinv start", kPinvStarts, name);
}

std::string_view pinv_start_name(PinvStart start) {
  return name_of(kPinvStarts, start);
}

NystromMask parse_nystrom_mask(std::string_view name) {
  return choose("nystrom mask", kNystromMasks, name);
}

std::string_view nystrom_mask_name(NystromMask mask) {
  return name_of(kNystromMasks, mask);
}

NystromSegments parse_nystrom_segments(std::string_view name) {
  return choose("nystrom segments", kNystromSegments, name);
}

std::string_view nystrom_segments_name(NystromSegments segments) {
  return name_of(kNystromSegments, segments);
}

NystromOrder parse_nystrom_order(std::string_view name) {
  return choose("nystrom order", kNystromOrders, name);
}

std::string_view nystrom_order_name(NystromOrder order) {
  return name_of(kNystromOrders, order);
}

FsatMode parse_fsat_mode(std::string_view name) {
  return choose("fsat mode", kFsatModes, name);
}

std::string_view fsat_mode_name(FsatMode mode) {
  return name_of(kFsatModes, mode);
}

LinkProtocol parse_link_protocol(std::string_view name) {
  return choose("paramixer protocol", kLinkProtocols, name);
}

std::string_view link_protocol_name(LinkProtocol protocol) {
  return name_of(kLinkProtocols, protocol);
}

FactorRule parse_factor_rule(std::string_view name) {
  return choose("paramixer factor rule", kFactorRules, name);
}

std::string_view factor_rule_name(FactorRule rule) {
  return name_of(kFactorRules, rule);
}

MixResidual parse_mix_residual(std::string_view name) {
  return choose("paramixer residual", kMixResiduals, name);
}

std::string_view mix_residual_name(MixResidual residual) {
  return name_of(kMixResiduals, residual);
}

CombinerPattern parse_combiner_pattern(std::string_view name) {
  return choose("combiner pattern", kCombinerPatterns, name);
}

std::string_view combiner_pattern_name(CombinerPattern pattern) {
  return name_of(kCombinerPatterns, pattern);
}

CombinerPool parse_combiner_pool(std::string_view name) {
  return choose("combiner pool", kCombinerPools, name);
}

std::string_view combiner_pool_name(CombinerPool pool) {
  return name_of(kCombinerPools, pool);
}

CombinerSummary parse_combiner_summary(std::string_view name) {
  return choose("combiner summary", kCombinerSummaries, name);
}

std::string_view combiner_summary_name(CombinerSummary summary) {
  return name_of(kCombinerSummaries, summary);
}

}  // namespace subquad::nn
