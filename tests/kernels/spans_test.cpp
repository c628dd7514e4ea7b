#include "subquad/kernels/spans/spans.h"

#include <doctest/doctest.h>

#include <limits>

#include "subquad/kernels/segments/segments.h"
#include "subquad/tests/support/device.h"

namespace subquad::test {
namespace {

std::vector<Index> bounds(const Tensor& spans) {
  const Tensor host = spans.to(kCpu);
  const auto all = host.span<const Index>();
  return {all.begin(), all.end()};
}

}  // namespace

TEST_CASE("spans: segments, levels and starts") {
  CHECK(bounds(kernels::segment_spans(7, 3, device())) == std::vector<Index>{0, 3, 3, 6, 6, 9});
  CHECK(bounds(kernels::segment_spans(2, 100, device())) == std::vector<Index>{0, 100});
  CHECK(kernels::segment_spans(2, std::numeric_limits<Index>::max(), device()).shape() == Shape{1, 1, 2});
  CHECK(kernels::segment_spans(0, 4, device()).shape() == Shape{1, 0, 2});
  CHECK(bounds(kernels::level_spans(5, device())) == std::vector<Index>{0, 2, 2, 4, 4, 6, 0, 4, 4, 8});
  CHECK(kernels::level_spans(2, device()).shape() == Shape{1, 0, 2});
  const Tensor starts = here(kernels::even_segments(2, 7, 3, kCpu));
  CHECK(kernels::spans_of_segments(starts).shape() == Shape{2, 3, 2});
  CHECK(bounds(kernels::spans_of_segments(starts)) == std::vector<Index>{0, 2, 2, 4, 4, 7, 0, 2, 2, 4, 4, 7});
}

TEST_CASE("spans of a long sequence take several blocks of a kernel") {
  CHECK(bounds(kernels::segment_spans(1000, 3, device())) == bounds(kernels::segment_spans(1000, 3, kCpu)));
  CHECK(bounds(kernels::level_spans(700, device())) == bounds(kernels::level_spans(700, kCpu)));
  const Tensor starts = kernels::even_segments(3, 999, 300, kCpu);
  CHECK(bounds(kernels::spans_of_segments(here(starts))) == bounds(kernels::spans_of_segments(starts)));
}

TEST_SUITE_BEGIN("cpu");  // lists for CPU kernels

TEST_CASE("spans fall into runs without overlaps") {
  using Runs = std::vector<std::pair<Index, Index>>;
  CHECK(kernels::disjoint_runs(kernels::segment_spans(7, 3, kCpu), 0) == Runs{{0, 3}});
  CHECK(kernels::disjoint_runs(kernels::level_spans(5, kCpu), 0) == Runs{{0, 3}, {3, 5}});
  CHECK(kernels::disjoint_runs(kernels::segment_spans(0, 3, kCpu), 0).empty());
  CHECK(kernels::disjoint_runs(tensor<Index>({0, 4, 3, 5, 4, 6}, {1, 3, 2}), 0) == Runs{{0, 1}, {1, 2}, {2, 3}});
}

TEST_CASE("spans: positions that they hold, for counts of work") {
  CHECK_EQ(kernels::spanned_positions(kernels::segment_spans(7, 3, kCpu), 4, 7), 28);
  CHECK_EQ(kernels::spanned_positions(kernels::level_spans(5, kCpu), 1, 5), 10);
  CHECK_EQ(kernels::spanned_positions(kernels::segment_spans(0, 3, kCpu), 4, 0), 0);
  CHECK_EQ(kernels::spanned_positions(tensor<Index>({0, 4, 3, 5, 1, 1, 2, 9}, {2, 2, 2}), 2, 5), 9);
}

TEST_SUITE_END();

TEST_CASE("spans name what does not fit") {
  CHECK_THROWS_WITH_AS(kernels::segment_spans(5, 0, device()), "segment_spans: size is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(kernels::check_spans("op", zeros({3, 2, 2}, kInt64, kCpu), 2),
                       "op: spans is [3, 2, 2] int64 cpu, expected [1 or 2, S, 2]", ShapeError);
  CHECK_THROWS_AS(kernels::check_spans("op", zeros({1, 2, 2}, kFloat32, kCpu), 2), DTypeError);
  if (!device().is_cpu()) return;
  CHECK_THROWS_WITH_AS(kernels::check_spans("op", tensor<Index>({0, 2, 5, 4}, {1, 2, 2}), 2),
                       "op: span 1 of sample 0 is 5 ... 4, expected 0 <= begin <= end", Error);
}

}  // namespace subquad::test
