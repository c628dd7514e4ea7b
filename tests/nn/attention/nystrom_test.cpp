#include "subquad/nn/attention/nystrom.h"

#include <ostream>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/attention.h"
#include "subquad/autograd/ops/conv1d.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/attention/slow_nystrom.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"
#include "subquad/tests/support/threads.h"

namespace subquad::nn {
namespace {

using test::dot_tolerance;
using test::leaf;
using test::normal;
using test::prefix_mask;
using test::same_bits;

// Positions [from, to) of every sample and head.
Tensor part(const Tensor& x, Index from, Index to) {
  return x.slice(2, from, to);
}

// Every third position is padded and, in the last sample, the second half.
Mask scattered_mask(Index batch, Index positions) {
  Tensor real = empty({batch, positions}, kBool, kCpu);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < positions; ++i)
      real.view<bool, 2>()(b, i) = (i + b) % 3 != 0 && (b + 1 < batch || 2 * i < positions);
  return Mask::from_bool(real).to(test::device());
}

struct Inputs {
  Variable q, k, v, taps;  // taps undefined without a convolution
  Mask mask;

  Variable run(const NystromConfig& config) const { return nystrom_attention(q, k, v, taps, mask, config); }
  std::vector<Variable> leaves() const { return taps.defined() ? std::vector{q, k, v, taps} : std::vector{q, k, v}; }
};

Inputs make_inputs(const Shape& shape, Index taps, const Mask& mask, DType dtype, std::uint64_t seed = 1) {
  const auto draw = [&](const Shape& s, std::uint64_t number) {
    return Variable(normal(s, dtype, 10 * seed + number), true);
  };
  return {draw(shape, 0), draw(shape, 1), draw(shape, 2), taps > 0 ? draw({shape[1], taps}, 3) : Variable(), mask};
}

// The output, and the gradients of everything for an upstream gradient.
std::vector<Tensor> run_back(const Inputs& in, const NystromConfig& config, const Tensor& upstream) {
  const Variable out = in.run(config);
  backward(out, upstream);
  std::vector<Tensor> results = {out.value()};
  for (const Variable& x : in.leaves()) results.push_back(x.grad().clone());
  return results;
}

// What config.mask and its companions allow.
std::vector<NystromConfig> configs(Index landmarks, Index taps) {
  std::vector<NystromConfig> all;
  for (const NystromMask mask :
       {NystromMask::isolated, NystromMask::official, NystromMask::huggingface, NystromMask::lucidrains})
    for (const NystromOrder order : {NystromOrder::values_first, NystromOrder::kernels_first})
      for (const bool exact : {true, false})
        for (const PinvStart start : {PinvStart::exact, PinvStart::original})
          all.push_back({.landmarks = landmarks,
                         .pinv_iterations = start == PinvStart::exact ? 6 : 2,
                         .pinv_start = start,
                         .conv_kernel = taps,
                         .mask = mask,
                         .order = order,
                         .exact_when_covered = exact});
  NystromConfig padded = all.front();
  padded.segments = NystromSegments::padded;
  all.push_back(padded);
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

TEST_SUITE("cpu") {  // no CUDA kernels yet
  TEST_CASE("nystrom_attention equals the loops over whole matrices") {
    struct Case {
      Shape shape;
      Index landmarks, taps;
      Mask mask;
    };
    const std::vector<Case> cases = {{{2, 2, 24, 4}, 6, 5, {}},
                                     {{1, 1, 23, 3}, 5, 0, {}},
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
    for (const Mask& mask : masks)
      for (NystromConfig config : configs(3, 3)) {
        if (config.exact_when_covered && config.order == NystromOrder::kernels_first) continue;  // time
        CAPTURE(Named{config});
        config.pinv_iterations = 2;
        CHECK_GRADIENTS(
            [&](const auto& in) { return std::vector{nystrom_attention(in[0], in[1], in[2], in[3], mask, config)}; },
            {leaf(shape, 1), leaf(shape, 2), leaf(shape, 3), leaf({2, 3}, 4)});
      }
    // covered by its landmarks: all samples, or one of them
    for (const Index landmarks : {4, 8})
      CHECK_GRADIENTS(
          [&](const auto& in) {
            return std::vector{nystrom_attention(in[0], in[1], in[2], {}, prefix_mask({7, 4}, 7),
                                                 {.landmarks = landmarks, .conv_kernel = 0})};
          },
          {leaf(shape, 1), leaf(shape, 2), leaf(shape, 3)});
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

  // F A^-1 A v = F v, when A can be inverted: here every token is most like itself.
  TEST_CASE("nystrom_attention inverts a well-conditioned A") {
    Inputs in = make_inputs({2, 2, 10, 16}, 0, prefix_mask({10, 6}, 10), kFloat64);
    in.k = in.q = mul_scalar(in.q, 1.5);
    const NystromConfig config{.landmarks = 10, .pinv_iterations = 20, .conv_kernel = 0, .exact_when_covered = false};
    CHECK_CLOSE(in.run(config).value(), attention(in.q, in.k, in.v, in.mask).out.value(), 1e-8);
  }

  TEST_CASE("a short sample of a long batch is not approximated") {
    const Inputs all = make_inputs({3, 2, 40, 4}, 0, prefix_mask({40, 6, 8}, 40), kFloat32);
    const NystromConfig config{.landmarks = 8, .conv_kernel = 0};
    for (const PinvStart start : {PinvStart::exact, PinvStart::original}) {
      NystromConfig started = config;
      started.pinv_start = start;
      const Tensor out = all.run(started).value(), upstream = normal(out.shape(), kFloat32, 4);
      const Tensor want = attention(all.q, all.k, all.v, all.mask).out.value();
      CHECK(same_bits(out.slice(0, 1, 3), want.slice(0, 1, 3)));
      CHECK_FALSE(same_bits(out.slice(0, 0, 1), want.slice(0, 0, 1)));
    }
  }

  TEST_CASE("nystrom_attention sees neither the contents nor the amount of padding, nor other samples") {
    for (const Index landmarks : {4, 8, 32})
      for (const Index taps : {0, 5}) {
        const NystromConfig config{.landmarks = landmarks, .conv_kernel = taps};
        const Index positions = 50, length = 21;
        const Mask mask = prefix_mask({50, length}, positions);
        const Inputs in = make_inputs({2, 2, positions, 4}, taps, mask, kFloat32);
        Tensor upstream = normal({2, 2, positions, 4}, kFloat32, 9);
        Tensor padded_upstream = part(upstream.slice(0, 1, 2), length, positions);
        fill(padded_upstream, 0);
        const std::vector<Tensor> want = run_back(in, config, upstream);
        for (std::size_t i = 0; i < 4; ++i)  // padded rows are 0, in results and gradients
          CHECK_CLOSE(part(want[i].slice(0, 1, 2), length, positions),
                      zeros({1, 2, positions - length, 4}, kFloat64, kCpu), 0);

        // Other contents.
        for (const double value : {1.0, -1e6, 3e38}) {
          const auto poisoned = [&](const Variable& x) {
            Tensor copied = x.value().clone(), padding = part(copied.slice(0, 1, 2), length, positions);
            fill(padding, value);
            return Variable(copied, true);
          };
          Inputs other = in;
          other.q = poisoned(in.q);
          other.k = poisoned(in.k);
          other.v = poisoned(in.v);
          if (taps > 0) other.taps = Variable(in.taps.value(), true);
          const std::vector<Tensor> got = run_back(other, config, upstream);
          for (std::size_t i = 0; i < want.size(); ++i) CHECK(same_bits(got[i], want[i]));
        }

        // The second sample alone, with less padding.
        for (const Index shorter : {length, length + 1, Index{32}, Index{33}}) {
          const auto alone = [&](const Tensor& x) { return part(x.slice(0, 1, 2), 0, shorter).contiguous(); };
          Inputs other{Variable(alone(in.q.value()), true), Variable(alone(in.k.value()), true),
                       Variable(alone(in.v.value()), true), in.taps, prefix_mask({length}, shorter)};
          const std::vector<Tensor> got = run_back(other, config, alone(upstream));
          for (std::size_t i = 0; i < 4; ++i) CHECK(same_bits(got[i], alone(want[i])));
          if (shorter != length) continue;
          other.mask = {};
          CHECK(same_bits(other.run(config).value(), alone(want[0])));
        }
      }
  }

  // Between which real tokens the padding stands is nobody's business either, but for the convolution.
  TEST_CASE("nystrom_attention sees no scattered padding") {
    const Mask mask = scattered_mask(2, 60);
    const Inputs in = make_inputs({2, 1, 60, 4}, 0, mask, kFloat32);
    const NystromConfig config{.landmarks = 8, .conv_kernel = 0};
    const Tensor out = in.run(config).value();
    for (Index b = 0; b < 2; ++b) {
      std::vector<Index> real;
      for (Index i = 0; i < 60; ++i)
        if (test::slow::is_real(mask, b, i)) real.push_back(i);
      const auto packed = [&](const Tensor& x) {
        Tensor rows = empty({1, 1, static_cast<Index>(real.size()), 4}, kFloat32, test::device());
        for (std::size_t i = 0; i < real.size(); ++i) {
          const Index to = static_cast<Index>(i);
          Tensor row = part(rows, to, to + 1);
          copy(part(x.slice(0, b, b + 1), real[i], real[i] + 1), row);
        }
        return rows;
      };
      const auto variable = [&](const Variable& x) { return Variable(packed(x.value())); };
      const Variable alone = nystrom_attention(variable(in.q), variable(in.k), variable(in.v), {}, {}, config);
      CHECK(same_bits(packed(out), alone.value()));
    }
  }

  TEST_CASE("a sample's order in the batch changes nothing with the exact start") {
    const Inputs in = make_inputs({2, 2, 30, 4}, 3, prefix_mask({30, 11}, 30), kFloat32);
    const NystromConfig config{.landmarks = 5, .conv_kernel = 3};
    const auto swapped = [](const Tensor& x) {
      Tensor out = empty_like(x), first = out.slice(0, 0, 1), second = out.slice(0, 1, 2);
      copy(x.slice(0, 1, 2), first);
      copy(x.slice(0, 0, 1), second);
      return out;
    };
    const Variable out = nystrom_attention(Variable(swapped(in.q.value())), Variable(swapped(in.k.value())),
                                           Variable(swapped(in.v.value())), in.taps, prefix_mask({11, 30}, 30), config);
    CHECK(same_bits(out.value(), swapped(in.run(config).value().contiguous())));
  }

  TEST_CASE("nystrom_attention gives the same bits for any number of threads") {
    const Inputs in = make_inputs({3, 2, 700, 8}, 5, prefix_mask({700, 130, 20}, 700), kFloat32);
    const Tensor upstream = normal({3, 2, 700, 8}, kFloat32, 9);
    CHECK(test::same_for_any_thread_count([&] {
      for (Variable x : in.leaves()) x.zero_grad();
      return run_back(in, {.landmarks = 32, .conv_kernel = 5}, upstream);
    }));
  }

  TEST_CASE("isolated landmarks are the official ones where nothing is padded") {
    const Inputs in = make_inputs({2, 2, 24, 4}, 5, {}, kFloat64);
    const Tensor isolated = in.run({.landmarks = 6, .conv_kernel = 5}).value();
    CHECK_CLOSE(in.run({.landmarks = 6, .conv_kernel = 5, .mask = NystromMask::official}).value(), isolated, 1e-14);
  }

  // With segments of the padded length, isolated landmarks still do not see how many empty ones there are.
  TEST_CASE("empty landmarks change nothing when they are isolated") {
    const Inputs in = make_inputs({1, 2, 48, 4}, 0, prefix_mask({12}, 48), kFloat32);
    const auto cut = [&](const Variable& x, Index positions) {
      return Variable(part(x.value(), 0, positions).contiguous());
    };
    const auto run = [&](Index positions) {  // segments of 4
      return nystrom_attention(cut(in.q, positions), cut(in.k, positions), cut(in.v, positions), {},
                               prefix_mask({12}, positions),
                               {.landmarks = positions / 4,
                                .conv_kernel = 0,
                                .segments = NystromSegments::padded,
                                .exact_when_covered = false});
    };
    const Tensor want = run(12).value();
    for (const Index positions : {16, 32, 48}) CHECK_CLOSE(part(run(positions).value(), 0, 12), want, 1e-6);
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
        CHECK(factors.a.shape() == Shape{2, 2, 4, 4});
      }
  }

  AttentionConfig module_config(const NystromConfig& nystrom) {
    return {.kind = "nystrom", .width = 6, .heads = 2, .nystrom = nystrom};
  }

  TEST_CASE("NystromAttention mixes the heads that its projections make") {
    for (const Index taps : {0, 3}) {
      const auto module = make_attention(test::place(kFloat64), module_config({.landmarks = 4, .conv_kernel = taps}));
      test::randomise(*module);
      const Mask mask = prefix_mask({11, 4}, 11);
      const Tensor x = normal({2, 11, 6}, kFloat64, 1);
      const test::slow::Weights w(module->state_dict());
      const auto split = [&](const char* name) {
        return test::slow::linear(x, w / name).reshape({2, 11, 2, 3}).transpose(1, 2).contiguous();
      };
      const Tensor mixed =
          test::slow::nystrom_attention(split("query"), split("key"), split("value"), taps > 0 ? w("conv") : Tensor(),
                                        mask, {.landmarks = 4, .conv_kernel = taps});
      const Tensor want = test::slow::linear(mixed.transpose(1, 2).contiguous().reshape({2, 11, 6}), w / "out");
      const Variable in(x);
      CHECK_CLOSE(module->forward({in, in, mask, {}}).value(), want, 1e-12);

      const Tensor matrix = module->mixing_matrix({in, in, mask, {}});
      const Tensor heads = matmul(Variable(matrix), Variable(test::here(split("value")))).value();
      CHECK_CLOSE(heads, mixed, 1e-12);
    }
  }

  TEST_CASE("NystromAttention does not see padded positions, nor does most published code") {
    for (const NystromMask mode : {NystromMask::isolated, NystromMask::official, NystromMask::lucidrains})
      for (const Index landmarks : {3, 16}) {
        const auto module = make_attention(test::place(kFloat32),
                                           module_config({.landmarks = landmarks, .conv_kernel = 3, .mask = mode}));
        test::randomise(*module);
        const Mask mask = scattered_mask(3, 16);
        const auto filled = [&](const Tensor& x, double value) {
          Tensor out = x.clone();
          for (Index b = 0; b < 3; ++b)
            for (Index i = 0; i < 16; ++i) {
              Tensor row = out.select(0, b).select(0, i);
              if (!test::slow::is_real(mask, b, i)) fill(row, value);
            }
          return out;
        };
        const Tensor x = normal({3, 16, 6}, kFloat32, 1);
        const Variable upstream(filled(normal(x.shape(), kFloat32, 2), 0));
        const auto run = [&](double padding) {
          const Variable in(filled(x, padding), true);
          module->zero_grad();
          const Variable out = module->forward({in, in, mask, {}});
          backward(sum(mul(out, upstream)));
          std::vector<Tensor> results = {filled(out.value(), 0), in.grad()};
          for (const Variable& p : module->parameters()) results.push_back(p.grad().clone());
          return results;
        };
        const std::vector<Tensor> want = run(0);
        CHECK(same_bits(want[1], filled(want[1], 0)));  // padded positions get no gradient
        for (const double padding : {1.0, -1e6, 3e38}) {
          const std::vector<Tensor> got = run(padding);
          for (std::size_t i = 0; i < want.size(); ++i) CHECK_CLOSE(got[i], want[i], 0);
        }
      }
  }

  TEST_CASE("NystromAttention gradients") {
    const auto module = make_attention(test::place(kFloat64), module_config({.landmarks = 3, .conv_kernel = 3}));
    test::randomise(*module);
    const Mask mask = prefix_mask({7, 5}, 7);
    const auto f = [&](const auto& in) { return module->forward({in[0], in[1], mask, {}}); };
    CHECK_MODULE_GRADIENTS(*module, f, {leaf({2, 7, 6}, 1), leaf({2, 7, 6}, 2)});
  }

  TEST_CASE("NystromAttention starts its filters as published") {
    const NystromAttention module(test::place(kFloat32), module_config({.landmarks = 4, .conv_kernel = 35}));
    const Tensor taps = module.state_dict().at("conv").to(kCpu);
    CHECK(taps.shape() == Shape{2, 35});
    const double bound = 1 / std::sqrt(35.0);
    for (const float tap : taps.span<float>()) CHECK(std::fabs(tap) <= bound);
    CHECK_FALSE(
        NystromAttention(test::place(kFloat32), module_config({.conv_kernel = 0})).state_dict().contains("conv"));
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
}

TEST_CASE("NystromAttention says which options are legal") {
  const auto make = [](const NystromConfig& nystrom, bool causal = false) {
    return NystromAttention(test::place(kFloat32), {.width = 4, .causal = causal, .nystrom = nystrom})
        .parameter_count();
  };
  CHECK_THROWS_WITH_AS(make({}, true), "nystrom: causal is true, expected false: a landmark averages later tokens, too",
                       Error);
  CHECK_THROWS_WITH_AS(make({.landmarks = 0}), "nystrom: landmarks is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(make({.pinv_iterations = 0}), "nystrom: pinv_iterations is 0, expected 1 to 20", Error);
  CHECK_THROWS_WITH_AS(make({.pinv_iterations = 21}), "nystrom: pinv_iterations is 21, expected 1 to 20", Error);
  CHECK_THROWS_WITH_AS(make({.conv_kernel = 4}),
                       "nystrom: conv_kernel is 4, expected an odd number of taps, or 0 for none", Error);
  CHECK_THROWS_WITH_AS(make({.mask = NystromMask::official, .segments = NystromSegments::per_sample}),
                       doctest::Contains("nystrom: segments is per_sample and mask is official, expected"), Error);
  CHECK(make({.conv_kernel = 0}) == 4 * (4 * 4 + 4));
}

}  // namespace
}  // namespace subquad::nn
