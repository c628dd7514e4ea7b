// Nystrom attention and what must not matter: padding, other samples, threads.
#include "subquad/autograd/ops/attention.h"
#include "subquad/tests/nn/attention/nystrom_cases.h"
#include "subquad/tests/nn/slow.h"
#include "subquad/tests/support/threads.h"

namespace subquad::nn {
namespace {

using test::normal;
using test::prefix_mask;
using test::same_bits;
using test::nystrom::Inputs;
using test::nystrom::make_inputs;
using test::nystrom::part;
using test::nystrom::run_back;
using test::nystrom::scattered_mask;

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

    Tensor sharper = all.q.value().clone(), short_samples = sharper.slice(0, 1, 3);
    fill(short_samples, 20);  // their A has columns that sum to m: no part of a coefficient that a batch shares
    const Variable other = nystrom_attention(Variable(sharper), all.k, all.v, {}, all.mask, started);
    CHECK(same_bits(other.value().slice(0, 0, 1), out.slice(0, 0, 1)));
  }
}

TEST_CASE("nystrom_attention sees neither the contents nor the amount of padding, nor other samples") {
  for (const Index landmarks : {4, 8, 32})
    for (const Index taps : {0, 5}) {
      if (test::interpreted() && (landmarks == 8) == (taps == 5)) continue;  // time
      const NystromOrder order = taps == 0 ? NystromOrder::kernels_first : NystromOrder::values_first;
      const NystromConfig config{.landmarks = landmarks, .conv_kernel = taps, .order = order};
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
        if (test::interpreted() && value == 1) continue;
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
        if (test::interpreted() && shorter > 32) continue;
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

// Any shape: a padded batch gives each sample what it gets alone, and nothing to what stands behind it.
TEST_CASE("nystrom_attention of a padded batch is that of each sample alone") {
  for (std::uint64_t seed = 1; seed <= (test::interpreted() ? 3 : 40); ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const Index longest = seed % 10 == 0 ? 4000 : 90;  // the one length is more than a BLAS takes at once
    const Shape shape = {1 + rng.below(3), 1 + rng.below(3), 1 + rng.below(longest), 1 + rng.below(9)};
    const Index positions = shape[2], taps = 2 * rng.below(4) + 1;
    const NystromOrder order = seed % 2 == 0 ? NystromOrder::kernels_first : NystromOrder::values_first;
    const NystromConfig config{.landmarks = 1 + rng.below(20), .conv_kernel = taps, .order = order};
    std::vector<std::int64_t> lengths;
    for (Index b = 0; b < shape[0]; ++b) lengths.push_back(rng.below(positions + 1));
    Inputs in = make_inputs(shape, taps, prefix_mask(lengths, positions), kFloat32, seed);
    Tensor upstream = normal(shape, kFloat32, seed + 100);
    for (Index b = 0; b < shape[0]; ++b) {
      const auto pad = [&](Tensor x, double value) {
        Tensor padding = part(x.slice(0, b, b + 1), lengths[static_cast<std::size_t>(b)], positions);
        fill(padding, value);
      };
      pad(in.q.mutable_value(), 3e38);
      pad(in.k.mutable_value(), -3e38);
      pad(in.v.mutable_value(), 3e38);
      pad(upstream, 0);
    }
    const std::vector<Tensor> got = run_back(in, config, upstream);
    for (Index b = 0; b < shape[0]; ++b) {
      const Index length = lengths[static_cast<std::size_t>(b)];
      const auto alone = [&](const Tensor& x) { return part(x.slice(0, b, b + 1), 0, length).contiguous(); };
      const auto leaf = [&](const Variable& x) { return Variable(alone(x.value()), true); };
      const Inputs sample{leaf(in.q), leaf(in.k), leaf(in.v), Variable(in.taps.value(), true), {}};
      const std::vector<Tensor> want = run_back(sample, config, alone(upstream));
      for (std::size_t i = 0; i < 4; ++i) {
        if (order == NystromOrder::values_first || length <= config.landmarks)
          CHECK(same_bits(alone(got[i]), want[i]));
        else
          CHECK_CLOSE(alone(got[i]), want[i], 8 * test::dot_tolerance(kFloat32, 8 * positions));
        const Tensor behind = part(got[i].slice(0, b, b + 1), length, positions);
        CHECK_CLOSE(behind, zeros(behind.shape(), kFloat64, kCpu), 0);
      }
    }
  }
}

// Between which real tokens the padding stands is nobody's business either, but for the convolution, and on CUDA for
// the roundings of attention.
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
    if (test::device().is_cpu())
      CHECK(same_bits(packed(out), alone.value()));
    else
      CHECK_CLOSE(packed(out), alone.value(), 8 * test::dot_tolerance(kFloat32, 60));
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
  const Index positions = test::interpreted() ? 150 : 700;
  const Inputs in = make_inputs({3, 2, positions, 8}, 5, prefix_mask({positions, 130, 20}, positions), kFloat32);
  const Tensor upstream = normal({3, 2, positions, 8}, kFloat32, 9);
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

}  // namespace
}  // namespace subquad::nn
