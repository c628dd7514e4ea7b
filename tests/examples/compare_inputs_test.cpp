// Inputs of compare_attention: the structure that inputs.h promises, and files.
#include "subquad/examples/compare/inputs.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <set>

#include "subquad/core/npy.h"
#include "subquad/examples/compare/errors.h"
#include "subquad/examples/compare/limits.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::compare;
using test::at;

TEST_SUITE_BEGIN("cpu");

TEST_CASE("compare inputs: a seed gives the same numbers, another one others") {
  for (const char* name : {"random", "smooth", "peaked", "stripes"}) {
    CAPTURE(name);
    const InputKind kind = parse_input_kind(name);
    CHECK_EQ(input_kind_name(kind), name);
    const Inputs a = make_inputs(kind, 19, 5, 3), b = make_inputs(kind, 19, 5, 3), c = make_inputs(kind, 19, 5, 4);
    for (const auto part : {&Inputs::q, &Inputs::k, &Inputs::v}) {
      CHECK_EQ((a.*part).shape(), Shape{19, 5});
      CHECK(test::same_bits(a.*part, b.*part));
      CHECK_FALSE(test::same_bits(a.*part, c.*part));
    }
  }
  CHECK_THROWS_WITH_AS(parse_input_kind("flat"), "inputs: 'flat', expected one of random, smooth, peaked, stripes",
                       Error);
  CHECK_THROWS_WITH_AS(make_inputs(InputKind::random, 7, 4, 1), "inputs: there are 7 positions, expected at least 8",
                       Error);
}

TEST_CASE("compare inputs: smooth has no more than eight cycles and no mean") {
  const Index n = 40;
  const Inputs in = make_inputs(InputKind::smooth, n, 3, 1);
  for (const Tensor& x : {in.q, in.k, in.v})
    for (Index e = 0; e < 3; ++e)
      for (Index cycles = 0; cycles <= n / 2; ++cycles) {
        double cosine = 0, sine = 0;
        for (Index i = 0; i < n; ++i) {
          const double angle = 2 * std::numbers::pi * static_cast<double>(cycles * i) / static_cast<double>(n);
          cosine += at(x, {i, e}) * std::cos(angle);
          sine += at(x, {i, e}) * std::sin(angle);
        }
        CAPTURE(cycles);
        const bool none = std::hypot(cosine, sine) < 1e-3;
        CHECK_EQ(none, cycles == 0 || cycles > 8);
      }
}

TEST_CASE("compare inputs: a peaked query is twice a key of its own") {
  const Inputs in = make_inputs(InputKind::peaked, 31, 6, 2);
  std::set<Index> places;
  for (Index i = 0; i < 31; ++i)
    for (Index j = 0; j < 31; ++j) {
      bool same = true;
      for (Index e = 0; e < 6; ++e) same = same && at(in.q, {i, e}) == 2 * at(in.k, {j, e});
      if (same) places.insert(j);
    }
  CHECK_EQ(places.size(), 31);
}

TEST_CASE("compare inputs: the lags and columns of stripes hold most of the mass, and are found") {
  const Inputs in = make_inputs(InputKind::stripes, 200, 32, 1);
  const LagColumnChoice best = best_lag_columns(exact_matrix(in), 2, 4);
  CHECK_EQ(best.lags, std::vector<Index>{40, 199});
  CHECK_EQ(best.columns.size(), 4);
  CHECK_GT(best.mass, 0.5);
}

TEST_CASE("compare inputs: files") {
  const test::TemporaryFolder folder;
  const Tensor q = test::normal({9, 4}, kFloat64, 1), k = test::normal({9, 4}, kFloat32, 2);
  write_npy(folder / "q.npy", q);
  write_npy(folder / "k.npy", k);
  CHECK_THROWS_AS(read_inputs(folder.path()), Error);  // no v.npy
  write_npy(folder / "v.npy", test::normal({9, 4}, kFloat32, 3));
  const Inputs in = read_inputs(folder.path());
  CHECK_EQ(in.name, "files");
  CHECK(test::same_bits(in.q, q.to(kFloat32)));
  CHECK(test::same_bits(in.k, k));
  const auto refused = [&](const std::string& text) {
    std::string said;
    try {
      read_inputs(folder.path());
    } catch (const Error& error) {
      said = error.what();
    }
    CAPTURE(said);
    CHECK_NE(said.find(text), std::string::npos);
  };
  write_npy(folder / "v.npy", test::normal({9, 5}, kFloat32, 3));
  refused("v.npy: the shape is [9, 5], expected that of q.npy, [9, 4]");
  write_npy(folder / "v.npy", test::normal({1, 9, 4}, kFloat32, 3));
  refused("v.npy: the shape is [1, 9, 4], expected [N, E], one head of at least 8 positions");
  write_npy(folder / "v.npy", zeros({9, 4}, kInt64, kCpu));
  refused("v.npy: the elements are int64, expected float32 or float64");
  write_npy(folder / "v.npy", full({9, 4}, std::nan(""), kFloat32, kCpu));
  refused("v.npy: there is a number that is not finite");
}

TEST_SUITE_END();
