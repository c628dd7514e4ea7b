// mixing_matrix of every attention: a picture of evaluation, whatever the module is doing.
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

using test::same_bits;

// Everything that draws while training is on.
AttentionConfig drawing(const std::string& kind) {
  return {.kind = kind,
          .width = 8,
          .heads = kind == "paramixer" ? 1 : 2,
          .max_length = 12,
          .dropout = 0.5,
          .nystrom = {.landmarks = 4},
          .fsat = {.cross = 3, .hidden = 2, .lags = 3, .columns = 2, .window = 0, .gamma = 5, .attention_dropout = 0.5},
          .combiner = {.segment = 4, .attention_dropout = 0.5}};
}

TEST_CASE("mixing_matrix is that of evaluation, also of a module in training") {
  for (const std::string& kind : attention_kinds()) {
    CAPTURE(kind);
    const auto module = make_attention(test::place(kFloat64), drawing(kind));
    test::randomise(*module);
    const Variable x(test::normal({2, 12, 8}, kFloat64, 1));
    const Mask mask = test::prefix_mask({12, 7}, 12);

    const Tensor without = module->mixing_matrix({x, x, mask, {}});
    const Tensor with = module->mixing_matrix({x, x, mask, test::random_state(2)});
    CHECK(module->training());
    CHECK(!same_bits(module->forward({x, x, mask, test::random_state(2, 1)}).value(),
                     module->forward({x, x, mask, test::random_state(2, 2)}).value()));

    module->eval();
    const Tensor want = module->mixing_matrix({x, x, mask, {}});
    CHECK(!module->training());
    CHECK(same_bits(without, want));
    CHECK(same_bits(with, want));
  }
}

}  // namespace
}  // namespace subquad::nn
