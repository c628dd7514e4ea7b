#include "subquad/kernels/segments/segments.h"

#include <doctest/doctest.h>

#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

std::vector<Index> row(const Tensor& starts, Index b) {
  const Tensor host = starts.to(kCpu).select(0, b);
  return {host.data<Index>(), host.data<Index>() + host.size()};
}

Mask mask_of(const std::vector<std::vector<int>>& rows) {
  Tensor real = empty({static_cast<Index>(rows.size()), static_cast<Index>(rows.front().size())}, kBool, kCpu);
  Index i = 0;
  for (const auto& sample : rows)
    for (const int bit : sample) real.data<bool>()[i++] = bit != 0;
  return Mask::from_bool(real).to(device());
}

TEST_CASE("even_segments: short ones first, then those with one position more") {
  const Tensor starts = kernels::even_segments(2, 50, 8, device());  // six of 6, two of 7
  CHECK(starts.shape() == Shape{2, 9});
  for (const Index b : {0, 1}) CHECK(row(starts, b) == std::vector<Index>{0, 6, 12, 18, 24, 30, 36, 43, 50});
  CHECK(row(kernels::even_segments(1, 12, 4, device()), 0) == std::vector<Index>{0, 3, 6, 9, 12});
  CHECK(row(kernels::even_segments(1, 2, 4, device()), 0) == std::vector<Index>{0, 1, 2, 2, 2});
  CHECK(row(kernels::even_segments(1, 0, 2, device()), 0) == std::vector<Index>{0, 0, 0});
  CHECK(row(kernels::even_segments(1, 5, 1, device()), 0) == std::vector<Index>{0, 5});
  CHECK(kernels::even_segments(0, 5, 3, device()).shape() == Shape{0, 4});
}

TEST_CASE("segments_from_end: what is missing is missing in front") {
  CHECK(row(kernels::segments_from_end(1, 10, 4, device()), 0) == std::vector<Index>{0, 1, 4, 7, 10});
  CHECK(row(kernels::segments_from_end(1, 12, 4, device()), 0) == std::vector<Index>{0, 3, 6, 9, 12});
  CHECK(row(kernels::segments_from_end(1, 2, 4, device()), 0) == std::vector<Index>{0, 0, 0, 1, 2});
}

TEST_CASE("even_start covers everything once") {
  for (Index count = 0; count < 40; ++count)
    for (Index segments = 1; segments < 12; ++segments) {
      CHECK(kernels::even_start(count, segments, 0) == 0);
      CHECK(kernels::even_start(count, segments, segments) == count);
      for (Index j = 0; j < segments; ++j) {
        const Index size = kernels::even_start(count, segments, j + 1) - kernels::even_start(count, segments, j);
        CHECK(size >= count / segments);
        CHECK(size <= count / segments + 1);
        for (Index i = 0; i < size; ++i)
          CHECK(kernels::even_segment_of(count, segments, kernels::even_start(count, segments, j) + i) == j);
      }
    }
}

TEST_CASE("even_segments_of_real cuts what is real, wherever it stands") {
  const Mask mask = mask_of({{1, 1, 1, 1, 1, 0, 0, 0}, {0, 1, 0, 1, 1, 0, 1, 1}, {0, 0, 1, 0, 0, 0, 0, 0}});
  const Tensor starts = kernels::even_segments_of_real(mask, 2).starts;  // 5 = 2 + 3
  CHECK(row(starts, 0) == std::vector<Index>{0, 2, 8});
  CHECK(row(starts, 1) == std::vector<Index>{0, 4, 8});
  CHECK(row(starts, 2) == std::vector<Index>{0, 8, 8});
  const kernels::RealSegments cut = kernels::even_segments_of_real(mask, 5);
  for (Index b = 0; b < 3; ++b) {
    const Index tokens = b < 2 ? 5 : 1;
    for (Index j = 0; j < 5; ++j) CHECK(at(cut.filled.real, {b, j}) == (j < tokens));
    CHECK(at(cut.filled.lengths, b) == tokens);
    CHECK(at(cut.covered, b) == 1);
    CHECK(at(kernels::even_segments_of_real(mask, 4).covered, b) == (tokens == 1));
  }
  CHECK(cut.filled.prefix);
}

TEST_CASE("even_segments_of_real puts the same tokens together whatever the padding") {
  for (const Index count : {0, 1, 3, 7, 20})
    for (const Index segments : {1, 3, 8}) {
      std::vector<int> real(37, 0);
      for (Index i = 0; i < count; ++i)
        real[static_cast<std::size_t>(i * 13 % 37)] = 1;  // scattered: 13 and 37 are coprime
      const Mask mask = mask_of({real});
      const std::vector<Index> starts = row(kernels::even_segments_of_real(mask, segments).starts, 0);
      CHECK(starts.front() == 0);
      CHECK(starts.back() == 37);
      for (Index j = 0; j < segments; ++j) {
        Index tokens = 0;
        for (Index i = starts[static_cast<std::size_t>(j)]; i < starts[static_cast<std::size_t>(j + 1)]; ++i)
          tokens += real[static_cast<std::size_t>(i)];
        CHECK(tokens == kernels::even_start(count, segments, j + 1) - kernels::even_start(count, segments, j));
      }
    }
}

TEST_CASE("filled_segments tells which segments hold a token") {
  const Tensor starts = kernels::even_segments(3, 6, 3, device());
  const Mask filled =
      kernels::filled_segments(starts, mask_of({{1, 1, 1, 0, 0, 0}, {0, 0, 0, 1, 0, 0}, {0, 0, 0, 0, 0, 0}}), 6);
  const std::vector<bool> want = {true, true, false, false, true, false, false, false, false};
  for (Index i = 0; i < 9; ++i) CHECK(at(filled.real, i) == want[static_cast<std::size_t>(i)]);
  CHECK(at(filled.lengths, 0) == 2);
  CHECK(at(filled.lengths, 2) == 0);
  CHECK_FALSE(filled.prefix);
  CHECK(at(kernels::filled_segments(starts, {}, 6).lengths, 1) == 3);
}

// More positions than a block has threads, and tables of more than one block.
TEST_CASE("segments of long samples") {
  const Index positions = 700, segments = 300;
  std::vector<std::vector<int>> rows(3, std::vector<int>(static_cast<std::size_t>(positions), 0));
  for (Index b = 0; b < 3; ++b)
    for (Index i = 0; i < positions; ++i) rows[b][i] = b == 2 ? i < 650 : i * (b + 2) % 7 < 3;
  const Mask mask = mask_of(rows),
             prefix = Mask::from_lengths(tensor<Index>({650, 0, 299}, {3}), positions).to(device());
  for (const Mask& m : {mask, prefix}) {
    const kernels::RealSegments cut = kernels::even_segments_of_real(m, segments);
    const kernels::RealSegments same = kernels::even_segments_of_real(m.to(kCpu), segments);
    CHECK(same_bits(cut.starts, same.starts));
    CHECK(same_bits(cut.filled.real, same.filled.real));
    CHECK(same_bits(cut.filled.lengths, same.filled.lengths));
    CHECK(same_bits(cut.covered, same.covered));
    const Mask looked_at = kernels::filled_segments(cut.starts, m, positions);
    CHECK(same_bits(cut.filled.real, looked_at.real));
    const Tensor even = kernels::even_segments(3, positions, segments, device());
    CHECK(same_bits(even, kernels::even_segments(3, positions, segments, kCpu)));
    CHECK(same_bits(kernels::segments_from_end(3, positions, segments, device()),
                    kernels::segments_from_end(3, positions, segments, kCpu)));
    const Mask filled = kernels::filled_segments(even, m, positions);
    const Mask want = kernels::filled_segments(even.to(kCpu), m.to(kCpu), positions);
    CHECK(same_bits(filled.real, want.real));
    CHECK(same_bits(filled.lengths, want.lengths));
  }
}

TEST_CASE("segments are the same whoever makes them") {
  std::vector<std::vector<int>> rows(2, std::vector<int>(300, 0));
  for (std::size_t i = 0; i < 300; ++i) rows[0][i] = i % 3 != 0, rows[1][i] = i < 290;
  const Mask mask = mask_of(rows), prefix = Mask::from_lengths(tensor<Index>({290, 7}, {2}), 300).to(device());
  CHECK(same_for_any_thread_count([&] {
    std::vector<Tensor> tables = {kernels::even_segments(2, 300, 130, device()),
                                  kernels::segments_from_end(2, 300, 130, device())};
    for (const Mask& m : {mask, prefix}) {
      const kernels::RealSegments cut = kernels::even_segments_of_real(m, 130);
      const Mask filled = kernels::filled_segments(tables[0], m, 300);
      for (const Tensor& t :
           {cut.starts, cut.filled.real, cut.filled.lengths, cut.covered, filled.real, filled.lengths})
        tables.push_back(t);
    }
    return tables;
  }));
}

TEST_CASE("segments name what does not fit") {
  CHECK_THROWS_WITH_AS(kernels::even_segments(1, 4, 0, device()), "even_segments: segments is 0, expected at least 1",
                       Error);
  const auto check = [](const Tensor& starts) { kernels::check_segments("segment_mean", starts, 1, 4); };
  CHECK_THROWS_WITH_AS(check(tensor<Index>({0}, {1, 1})),
                       "segment_mean: starts is [1, 1] int64 cpu, expected [1, S + 1] with S >= 1 segments",
                       ShapeError);
  CHECK_THROWS_WITH_AS(check(tensor<Index>({0, 3}, {1, 2})),
                       "segment_mean: starts of sample 0 go from 0 to 3, expected from 0 to 4", Error);
  CHECK_THROWS_WITH_AS(check(tensor<Index>({0, 3, 2, 4}, {1, 4})),
                       "segment_mean: starts[0, 2] is 2, expected at least 3, where the segment before it starts",
                       Error);
  CHECK_THROWS_AS(check(zeros({1, 3}, kFloat32, kCpu)), DTypeError);
}

}  // namespace
}  // namespace subquad::test
