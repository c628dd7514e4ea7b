#include "subquad/nn/attention/config.h"

#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "subquad/core/error.h"

namespace subquad::nn {
namespace {

// Every value has a name of its own, by which it is found again.
template <class T>
void check_names(T last, T (*parse)(std::string_view), std::string_view (*name)(T)) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    const T value = static_cast<T>(i);
    CHECK(parse(name(value)) == value);
    names.insert(name(value));
  }
  CHECK(names.size() == static_cast<std::size_t>(last) + 1);
  CHECK_THROWS_AS(parse("zigzag"), Error);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");  // words and numbers of the host alone

TEST_CASE("attention config: names of all choices") {
  check_names(PinvStart::product, parse_pinv_start, pinv_start_name);
  check_names(NystromMask::lucidrains, parse_nystrom_mask, nystrom_mask_name);
  check_names(NystromSegments::padded, parse_nystrom_segments, nystrom_segments_name);
  check_names(NystromOrder::kernels_first, parse_nystrom_order, nystrom_order_name);
  check_names(FsatMode::bias, parse_fsat_mode, fsat_mode_name);
  check_names(LinkProtocol::butterfly, parse_link_protocol, link_protocol_name);
  check_names(FactorRule::floor, parse_factor_rule, factor_rule_name);
  check_names(MixResidual::none, parse_mix_residual, mix_residual_name);
  check_names(CombinerPattern::rowmajor, parse_combiner_pattern, combiner_pattern_name);
  check_names(CombinerPool::deepset_sum, parse_combiner_pool, combiner_pool_name);
  check_names(CombinerSummary::wsum_proj, parse_combiner_summary, combiner_summary_name);
}

TEST_CASE("attention config: a wrong name is answered with the right ones") {
  CHECK_THROWS_WITH_AS(parse_link_protocol("cord"),
                       "paramixer protocol: 'cord', expected one of chord, cdil, butterfly", Error);
  CHECK_THROWS_WITH_AS(parse_pinv_start("Exact"), "pinv start: 'Exact', expected one of exact, original, product",
                       Error);
}

TEST_SUITE_END();

}  // namespace subquad::nn
