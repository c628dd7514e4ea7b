#include "subquad/nn/attention/nystrom.h"

#include <cmath>
#include <ostream>

#include "subquad/autograd/ops/attention.h"
#include "subquad/autograd/ops/conv1d.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/attention/nystrom_cases.h"
#include "subquad/tests/nn/attention/slow_nystrom.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::dot_tolerance;
using test::leaf;
using test::normal;
using test::prefix_mask;
using test::same_bits;
using test::nystrom::Inputs;
using test::nystrom::make_inputs;
using test::nystrom::part;
using test::nystrom::run_back;
using test::nystrom::scattered_mask;

// What config.mask and its companions allow; under the interpreter every fifth of it, in which each value occurs.
std::vector<NystromConfig> configs(Index landmarks, Index taps) {
  std::vector<NystromConfig> all;
  int number = 0;
  for (const NystromMask mask :
       {NystromMask::isolated, NystromMask::official, NystromMask::huggingface, NystromMask::lucidrains})
    for (const NystromOrder order : {NystromOrder::values_first, NystromOrder::kernels_first})
      for (const bool exact : {true, false})
        for (const PinvStart start : {PinvStart::exact, PinvStart::original}) {
          if (test::interpreted() && number++ % 5 != 1) continue;
          all.push_back({.landmarks = landmarks,
                         .pinv_iterations = start == PinvStart::exact ? 6 : 2,
                         .pinv_start = start,
                         .conv_kernel = taps,
                         .mask = mask,
                         .order = order,
                         .exact_when_covered = exact});
        }
  all.push_back({.landmarks = landmarks, .conv_kernel = taps, .segments = NystromSegments::padded});
  return all;
}

struct Named {
  const NystromConfig& config;
  friend std::ostream& operator<<(std::ostream& out, const Named& named) {
    return out << nystrom_mask_name(named.config.mask) << ' ' << nystrom_segments_name(named.config.segments) << ' '
               << nystrom_order_name(named.config.order) << ' ' << pinv_start_name(named.config.pinv_start) << " exact "
               << named.config.exact_when_covered;
  }
};

TEST_CASE("nystrom_attention equals the loops over whole matrices") {
  struct Case {
    Shape shape;
    Index landmarks, taps;
    Mask mask;
  };
  const std::vector<Case> cases = {{{2, 2, 24, 4}, 6, 5, {}},
                                   {{1, 1, 23, 3}, 5, 0, {}},
                                   {{2, 2, 50, 3}, 8, 3, {}},
                                   {{2, 1, 5, 3}, 8, 3, {}},
                                   {{0, 1, 5, 3}, 8, 3, {}},
                                   {{1, 2, 0, 3}, 8, 3, {}},
                                   {{3, 2, 23, 4}, 5, 3, prefix_mask({23, 9, 4}, 23)},
                                   {{2, 1, 17, 2}, 3, 0, scattered_mask(2, 17)},
                                   {{2, 1, 12, 3}, 4, 3, prefix_mask({12, 0}, 12)},
                                   {{2, 1, 6, 3}, 8, 3, prefix_mask({6, 2}, 6)},
                                   {{1, 2, 5, 2}, 1, 1, {}},
                                   {{1, 1, 1, 2}, 1, 0, {}}};
  for (const Case& c : cases)
    for (const NystromConfig& config : configs(c.landmarks, c.taps)) {
      CAPTURE(Named{config});
      CAPTURE(c.shape);
      test::for_each_float([&](DType dtype) {
        const Inputs in = make_inputs(c.shape, c.taps, c.mask, dtype);
        const Tensor want = test::slow::nystrom_attention(
            in.q.value(), in.k.value(), in.v.value(), in.taps.defined() ? in.taps.value() : Tensor(), c.mask, config);
        CHECK_CLOSE(in.run(config).value(), want, 8 * dot_tolerance(dtype, 8 * c.shape[2]));
      });
    }
}

TEST_CASE("nystrom_attention gradients") {
  const Shape shape = {2, 2, 7, 3};
  const std::vector<Mask> masks = {Mask(), prefix_mask({7, 5}, 7), scattered_mask(2, 7)};
  int number = 0;
  for (const Mask& mask : masks)
    for (NystromConfig config : configs(3, 3)) {
      if (test::interpreted() && number++ % 11 != 2) continue;                                  // time
      if (config.exact_when_covered && config.order == NystromOrder::kernels_first) continue;  // time
      CAPTURE(Named{config});
      config.pinv_iterations = 2;
      CHECK_GRADIENTS(
          [&](const auto& in) { return std::vector{nystrom_attention(in[0], in[1], in[2], in[3], mask, config)}; },
          {leaf(shape, 1), leaf(shape, 2), leaf(shape, 3), leaf({2, 3}, 4)});
    }
  for (const NystromMask mode : {NystromMask::isolated, NystromMask::official}) {
    if (test::interpreted() && mode == NystromMask::official) continue;
    const NystromConfig product{
        .landmarks = 3, .pinv_iterations = 2, .pinv_start = PinvStart::product, .conv_kernel = 3, .mask = mode};
    CHECK_GRADIENTS(
        [&](const auto& in) {
          return std::vector{nystrom_attention(in[0], in[1], in[2], in[3], prefix_mask({7, 5}, 7), product)};
        },
        {leaf(shape, 1), leaf(shape, 2), leaf(shape, 3), leaf({2, 3}, 4)});
  }
  for (const NystromOrder order : {NystromOrder::values_first, NystromOrder::kernels_first}) {
    if (test::interpreted() && order == NystromOrder::kernels_first) continue;
    CHECK_GRADIENTS(  // more rows of zeros than tokens
        [&](const auto& in) {
          const NystromConfig config{.landmarks = 5,
                                     .conv_kernel = 3,
                                     .mask = NystromMask::lucidrains,
                                     .order = order,
                                     .exact_when_covered = false};
          return std::vector{nystrom_attention(in[0], in[1], in[2], in[3], {}, config)};
        },
        {leaf({1, 2, 2, 3}, 1), leaf({1, 2, 2, 3}, 2), leaf({1, 2, 2, 3}, 3), leaf({2, 3}, 4)});
  }
  // covered by its landmarks: all samples, or one of them
  for (const Index landmarks : {4, 8})
    for (const NystromOrder order : {NystromOrder::values_first, NystromOrder::kernels_first}) {
      if (test::interpreted() && landmarks == 8) continue;
      CHECK_GRADIENTS(
          [&](const auto& in) {
            return std::vector{nystrom_attention(in[0], in[1], in[2], {}, prefix_mask({7, 4}, 7),
                                                 {.landmarks = landmarks, .conv_kernel = 0, .order = order})};
          },
          {leaf(shape, 1), leaf(shape, 2), leaf(shape, 3)});
    }
}

TEST_CASE("nystrom_attention without approximation is softmax attention") {
  const Mask mask = prefix_mask({12, 7}, 12);
  for (const Mask& seen : {Mask(), mask}) {
    const Inputs in = make_inputs({2, 2, 12, 4}, 0, seen, kFloat64);
    const Variable want = attention(in.q, in.k, in.v, seen).out;
    for (const Index landmarks : {12, 13, 64})
      CHECK(same_bits(in.run({.landmarks = landmarks, .conv_kernel = 0}).value(), want.value()));
    const Inputs with_taps = make_inputs({2, 2, 12, 4}, 5, seen, kFloat64);
    const Tensor out = with_taps.run({.landmarks = 12, .conv_kernel = 5}).value();
    const Tensor skip = conv1d(in.v, with_taps.taps, seen, want).value();
    CHECK_CLOSE(part(out, 0, 7), part(skip, 0, 7), 0);
  }
}

// What lucidrains' code puts in front of a sequence are tokens like the others, unless a mask hides them.
TEST_CASE("nystrom_attention as lucidrains' without a mask sees zeros in front of the tokens") {
  for (const Index positions : {50, 51, 48, 5})
    for (const NystromOrder order : {NystromOrder::values_first, NystromOrder::kernels_first}) {
      CAPTURE(positions);
      NystromConfig config{.landmarks = 8,
                           .conv_kernel = 5,
                           .mask = NystromMask::lucidrains,
                           .order = order,
                           .exact_when_covered = false};
      const Index length = (positions + 7) / 8 * 8, front = length - positions;
      Inputs longer = make_inputs({2, 2, length, 4}, 5, {}, kFloat64), in = longer;
      for (Variable* x : {&longer.q, &longer.k, &longer.v}) {
        Tensor added = part(x->mutable_value(), 0, front);
        fill(added, 0);
      }
      const auto tokens = [&](const Variable& x) {
        return Variable(part(x.value(), front, length).contiguous(), true);
      };
      in.q = tokens(longer.q);
      in.k = tokens(longer.k);
      in.v = tokens(longer.v);
      in.taps = Variable(longer.taps.value(), true);
      Tensor upstream = normal({2, 2, length, 4}, kFloat64, 9), cut_off = part(upstream, 0, front);
      fill(cut_off, 0);

      const std::vector<Tensor> got = run_back(in, config, part(upstream, front, length).contiguous());
      in.mask = prefix_mask({positions, positions}, positions);
      const Tensor hidden = in.run(config).value();
      config.mask = NystromMask::official;  // length is a multiple of m: no segment is uneven
      const std::vector<Tensor> want = run_back(longer, config, upstream);
      for (std::size_t i = 0; i < 4; ++i) CHECK_CLOSE(got[i], part(want[i], front, length), 1e-12);
      CHECK_CLOSE(got[4], want[4], 1e-12);
      CHECK((test::largest_error(hidden, got[0]) < 1e-12) == (front == 0));
    }
}

// All logits are 0, so each row of F Z S is uniform over the zeros and the tokens.
TEST_CASE("nystrom_attention as lucidrains' averages zeros in front of tokens that are all alike") {
  for (const Index positions : {50, 5}) {
    const Variable q(zeros({1, 2, positions, 3}, kFloat64, test::device()));
    const Variable v(normal({1, 2, positions, 3}, kFloat64, 1));
    const NystromConfig config{
        .landmarks = 8, .conv_kernel = 0, .mask = NystromMask::lucidrains, .exact_when_covered = false};
    const Index length = (positions + 7) / 8 * 8;
    const Tensor want = mul_scalar(sum(v, {2}, true), 1 / static_cast<double>(length)).value();
    CHECK_CLOSE(nystrom_attention(q, q, v, {}, {}, config).value(), want.expand(v.shape()), 1e-12);
    const NystromFactors factors = nystrom_factors(q, q, {}, config);
    const double share = 1 / static_cast<double>(length);
    CHECK_CLOSE(factors.s, full({1, 2, 8, positions}, share, kFloat64, kCpu), 1e-15);
  }
}

// F A^-1 A v = F v, when A can be inverted: here every token is most like itself.
TEST_CASE("nystrom_attention inverts a well-conditioned A") {
  Inputs in = make_inputs({2, 2, 10, 16}, 0, prefix_mask({10, 6}, 10), kFloat64);
  in.k = in.q = mul_scalar(in.q, 1.5);
  const NystromConfig config{.landmarks = 10, .pinv_iterations = 20, .conv_kernel = 0, .exact_when_covered = false};
  CHECK_CLOSE(in.run(config).value(), attention(in.q, in.k, in.v, in.mask).out.value(), 1e-8);
}

TEST_CASE("a constant added to all values is added to what a well-conditioned A makes of them") {
  Inputs in = make_inputs({1, 2, 24, 16}, 0, {}, kFloat64);
  in.k = in.q = mul_scalar(in.q, 3);
  const NystromConfig config{.landmarks = 6, .pinv_iterations = 20, .conv_kernel = 0};
  const Tensor out = in.run(config).value();
  in.v = add_scalar(in.v, 2);
  CHECK_CLOSE(in.run(config).value(), add_scalar(Variable(out), 2).value(), 1e-9);
}

TEST_CASE("nystrom_attention of tokens that are all alike is their mean") {
  const Variable q(full({1, 1, 16, 4}, 0.5, kFloat64, test::device())), v(normal({1, 1, 16, 4}, kFloat64, 1));
  const Tensor want = mean(v, {2}, true).value();
  for (const Index landmarks : {1, 4}) {
    const Tensor out = nystrom_attention(q, q, v, {}, {}, {.landmarks = landmarks, .conv_kernel = 0}).value();
    CHECK_CLOSE(out, want.expand({1, 1, 16, 4}), 1e-12);
    const NystromFactors factors = nystrom_factors(q, q, {}, {.landmarks = landmarks});
    const Tensor even = full({1, 1, landmarks, landmarks}, 1 / static_cast<double>(landmarks), kFloat64, kCpu);
    CHECK_CLOSE(factors.a, even, 1e-15);
    CHECK_CLOSE(factors.z, even, 1e-14);
  }
}

TEST_CASE("one landmark gives every token the same") {
  const Inputs in = make_inputs({1, 2, 9, 4}, 0, {}, kFloat64);
  const Tensor out = in.run({.landmarks = 1, .conv_kernel = 0}).value();
  CHECK_CLOSE(out, part(out, 0, 1).expand(out.shape()), 1e-14);
}

TEST_CASE("nystrom_factors multiply to what nystrom_attention makes of the values") {
  for (const Mask& mask : {Mask(), prefix_mask({17, 6}, 17), scattered_mask(2, 17)})
    for (NystromConfig config : configs(4, 0)) {
      if (config.exact_when_covered) continue;
      CAPTURE(Named{config});
      const Inputs in = make_inputs({2, 2, 17, 3}, 0, mask, kFloat64);
      const NystromFactors factors = nystrom_factors(in.q, in.k, mask, config);
      const Variable product =
          matmul(matmul(Variable(factors.f), Variable(factors.z)), matmul(Variable(factors.s), in.v));
      CHECK_CLOSE(product.value(), in.run(config).value(), 1e-11);
      CHECK(factors.f.shape() == Shape{2, 2, 17, 4});
      CHECK(factors.a.shape() == Shape{2, 2, 4, 4});
      CHECK(factors.s.shape() == Shape{2, 2, 4, 17});
      if (config.mask != NystromMask::isolated || !mask.defined()) continue;
      for (Index i = 0; i < 17; ++i)  // rows of padded positions
        if (!test::slow::is_real(mask, 1, i))
          CHECK_CLOSE(factors.f.slice(0, 1, 2).slice(2, i, i + 1), zeros({1, 2, 1, 4}, kFloat64, kCpu), 0);
    }
}

TEST_CASE("nystrom_factors leave out empty landmarks") {
  const Inputs in = make_inputs({1, 1, 8, 3}, 0, prefix_mask({2}, 8), kFloat64);
  const NystromFactors factors = nystrom_factors(in.q, in.k, in.mask, {.landmarks = 4});
  for (Index j = 2; j < 4; ++j) {
    CHECK_CLOSE(part(factors.s, j, j + 1), zeros({1, 1, 1, 8}, kFloat64, kCpu), 0);
    CHECK_CLOSE(factors.f.slice(3, j, j + 1), zeros({1, 1, 8, 1}, kFloat64, kCpu), 0);
    for (Index i = 0; i < 4; ++i) {
      CHECK(test::at(factors.a, {0, 0, j, i}) == (i == j));
      CHECK(std::fabs(test::at(factors.z, {0, 0, j, i}) - (i == j ? 1 : 0)) < 1e-12);
    }
  }
}

TEST_CASE("nystrom_attention names what does not fit") {
  const auto zero = [](const Shape& shape) { return Variable(zeros(shape, kFloat32, test::device())); };
  const auto run = [&](const Shape& q, const Shape& k, const Shape& v, const Mask& mask) {
    return nystrom_attention(zero(q), zero(k), zero(v), {}, mask, {.landmarks = 2});
  };
  CHECK_THROWS_WITH_AS(run({2, 6, 4}, {2, 6, 4}, {2, 6, 4}, {}), doctest::Contains("nystrom: q is [2, 6, 4]"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(run({1, 2, 6, 4}, {1, 2, 5, 4}, {1, 2, 6, 4}, {}),
                       doctest::Contains("nystrom: k is [1, 2, 5, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(run({1, 2, 6, 4}, {1, 2, 6, 4}, {1, 2, 5, 4}, {}),
                       doctest::Contains("nystrom: values is [1, 2, 5, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(run({1, 2, 6, 4}, {1, 2, 6, 4}, {1, 2, 6, 4}, prefix_mask({3}, 5)),
                       doctest::Contains("nystrom: mask is [1, 5]"), ShapeError);
  CHECK_THROWS_WITH_AS(nystrom_attention({}, {}, {}, {}, {}, {}), "nystrom: q is undefined", Error);
}

}  // namespace
}  // namespace subquad::nn
