// NystromAttention: the mechanism between its projections.
#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/attention/nystrom_cases.h"
#include "subquad/tests/nn/attention/padding.h"
#include "subquad/tests/nn/attention/slow_nystrom.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::leaf;
using test::normal;
using test::prefix_mask;
using test::real_part;
using test::same_bits;
using test::nystrom::scattered_mask;

AttentionConfig module_config(const NystromConfig& nystrom) {
  return {.kind = "nystrom", .width = 6, .heads = 2, .nystrom = nystrom};
}

TEST_CASE("NystromAttention mixes the heads that its projections make") {
  struct Case {
    NystromConfig config;
    Mask mask;
  };
  const std::vector<Case> cases = {
      {{.landmarks = 4, .conv_kernel = 0}, prefix_mask({11, 4}, 11)},
      {{.landmarks = 4, .conv_kernel = 3}, prefix_mask({11, 4}, 11)},
      {{.landmarks = 4, .conv_kernel = 0, .mask = NystromMask::lucidrains}, {}},
      {{.landmarks = 16, .conv_kernel = 3, .mask = NystromMask::lucidrains, .exact_when_covered = false}, {}}};
  for (const auto& [config, mask] : cases) {
    const auto module = make_attention(test::place(kFloat64), module_config(config));
    test::randomise(*module);
    const Tensor x = normal({2, 11, 6}, kFloat64, 1);
    const test::slow::Weights w(module->state_dict());
    const auto split = [&](const char* name) {
      return test::slow::linear(x, w / name).reshape({2, 11, 2, 3}).transpose(1, 2).contiguous();
    };
    const Tensor mixed = test::slow::nystrom_attention(split("query"), split("key"), split("value"),
                                                       config.conv_kernel > 0 ? w("conv") : Tensor(), mask, config);
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
      if (test::interpreted() && (landmarks == 16) == (mode == NystromMask::isolated)) continue;  // time
      const auto module = make_attention(test::place(kFloat32),
                                         module_config({.landmarks = landmarks, .conv_kernel = 3, .mask = mode}));
      test::randomise(*module);
      const Mask mask = scattered_mask(3, 16);
      const Tensor x = normal({3, 16, 6}, kFloat32, 1);
      const Variable upstream(real_part(normal(x.shape(), kFloat32, 2), mask));
      const auto run = [&](double padding) {
        const Variable in(test::with_padding(x, mask, padding), true);
        module->zero_grad();
        const Variable out = module->forward({in, in, mask, {}});
        backward(sum(mul(out, upstream)));
        std::vector<Tensor> results = {real_part(out.value(), mask), in.grad()};
        for (const Variable& p : module->parameters()) results.push_back(p.grad().clone());
        return results;
      };
      const std::vector<Tensor> want = run(0);
      CHECK(same_bits(want[1], real_part(want[1], mask)));  // padded positions get no gradient
      for (const double padding : {1.0, -1e6, 3e38}) {
        if (test::interpreted() && padding == 1) continue;
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
  CHECK_FALSE(NystromAttention(test::place(kFloat32), module_config({.conv_kernel = 0})).state_dict().contains("conv"));
}

TEST_CASE("NystromAttention says which options are legal") {
  const auto make = [](const NystromConfig& nystrom, bool causal = false) {
    return NystromAttention(test::place(kFloat32), {.width = 4, .causal = causal, .nystrom = nystrom})
        .parameter_count();
  };
  CHECK_THROWS_WITH_AS(make({}, true), "nystrom: causal is true, expected false: a landmark averages later tokens, too",
                       Error);
  CHECK_THROWS_WITH_AS(make({.landmarks = 0}), "nystrom: landmarks is 0, expected 1 to 10000000", Error);
  CHECK_THROWS_WITH_AS(make({.landmarks = Index{1} << 62}),
                       "nystrom: landmarks is 4611686018427387904, expected 1 to 10000000", Error);
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
