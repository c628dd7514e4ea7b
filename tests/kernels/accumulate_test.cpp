#include "subquad/kernels/accumulate/accumulate.h"

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

using kernels::accumulate;
using kernels::Addition;

// to + sum over the first dimension of parts
Tensor slow(const Addition& addition) {
  Tensor want = doubles(addition.to).clone();
  const Tensor parts = doubles(addition.parts);
  for (Index p = 0; p < parts.dim(0); ++p) {
    const Tensor part = parts.select(0, p).contiguous();
    for (Index i = 0; i < want.size(); ++i) want.data<double>()[i] += part.data<double>()[i];
  }
  return want;
}

std::vector<Addition> make(const std::vector<std::pair<Shape, Index>>& entries, DType dtype) {
  std::vector<Addition> additions;
  std::uint64_t seed = 0;
  for (const auto& [shape, parts] : entries) {
    const Tensor to = normal(shape, dtype, ++seed).clone();
    additions.push_back({to, normal(shape.inserted(0, parts), dtype, ++seed)});
  }
  return additions;
}

void check_additions(std::vector<Addition> additions, Index longest) {
  std::vector<Tensor> want;
  for (const Addition& addition : additions) want.push_back(slow(addition));
  accumulate(additions);
  for (std::size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK_CLOSE(additions[i].to, want[i], dot_tolerance(additions[i].to.dtype(), longest));
  }
}

}  // namespace

TEST_CASE("accumulate equals the loop, for one part and for many, whatever the sizes") {
  for_each_float([](DType dtype) {
    check_additions(
        make({{{3}, 1}, {{}, 1}, {{0}, 4}, {{2, 5}, 0}, {{70}, 3}, {{33, 2}, 40}, {{5000}, 1}, {{1}, 300}}, dtype),
        300);
    check_additions({}, 1);
  });
}

TEST_CASE("accumulate takes more entries than one launch does") {
  std::vector<std::pair<Shape, Index>> entries;
  for (Index i = 0; i < 150; ++i) entries.push_back({{i % 7 + 1, 3}, i % 3 + 1});
  for_each_float([&](DType dtype) { check_additions(make(entries, dtype), 4); });
}

TEST_CASE("accumulate adds parts that lie apart, and entries of several dtypes") {
  std::vector<Addition> additions = make({{{6}, 1}, {{4, 3}, 2}}, kFloat32);
  const Tensor both = normal({5, 2, 6}, kFloat64, 9);
  additions.push_back({normal({6}, kFloat64, 10).clone(), both.select(1, 0)});
  additions.push_back({normal({6}, kFloat64, 11).clone(), both.select(1, 1)});
  check_additions(additions, 8);
}

TEST_CASE("accumulate adds matrices whose rows lie apart") {
  for_each_float([](DType dtype) {
    const Tensor wide = normal({40, 3, 70}, dtype, 1), several = normal({20, 7, 2, 5}, dtype, 2);
    std::vector<Addition> additions;
    for (Index s = 0; s < 3; ++s)
      additions.push_back({normal({40, 70}, dtype, 3).clone(), wide.select(1, s).unsqueeze(0)});
    for (Index s = 0; s < 2; ++s) additions.push_back({normal({7, 5}, dtype, 4).clone(), several.select(2, s)});
    check_additions(additions, 20);
  });
}

TEST_CASE("accumulate gives the same bits every time, and counts as a write") {
  const std::vector<std::pair<Shape, Index>> entries = {{{65}, 100}, {{300}, 17}};
  std::vector<Addition> first = make(entries, kFloat32), second = make(entries, kFloat32);
  const std::uint32_t version = first[0].to.version();
  accumulate(first);
  accumulate(second);
  CHECK_EQ(first[0].to.version(), version + 1);
  for (std::size_t i = 0; i < first.size(); ++i) CHECK(same_bits(first[i].to, second[i].to));
}

TEST_CASE("accumulate complains about shapes, dtypes and gaps") {
  const auto run = [](const Tensor& to, const Tensor& parts) {
    std::vector<Addition> additions = {{to, parts}};
    accumulate(additions);
  };
  const Tensor to = zeros({2, 3}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(run(to, zeros({2, 3}, kFloat32, kCpu)),
                       "accumulate: parts is [2, 3] float32 cpu, expected [P, ...] of [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(run(to, zeros({1, 2, 3}, kFloat64, kCpu)),
                       "accumulate: parts is [1, 2, 3] float64 cpu, expected float32 like to", DTypeError);
  CHECK_THROWS_AS(run(to.transpose(0, 1), zeros({1, 3, 2}, kFloat32, kCpu)), ShapeError);
  CHECK_THROWS_AS(run(to, zeros({1, 3, 2}, kFloat32, kCpu).transpose(1, 2)), ShapeError);
  CHECK_THROWS_WITH_AS(run(Tensor(), to), "accumulate: to is undefined", Error);
}

}  // namespace subquad::test
