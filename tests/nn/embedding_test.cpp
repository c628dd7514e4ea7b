#include "subquad/nn/embedding.h"

#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

TEST_CASE("Embedding picks rows") {
  const Embedding layer(test::place(kFloat64), 5, 3);
  const Tensor ids = tensor<std::int64_t>({4, 0, 4, 2}, {2, 2});
  const Tensor out = layer(test::here(ids)).value();
  CHECK(out.shape() == Shape{2, 2, 3});
  for (Index i = 0; i < 4; ++i)
    for (Index d = 0; d < 3; ++d)
      CHECK(test::at(out, i * 3 + d) == test::at(layer.table().value(), {ids.data<std::int64_t>()[i], d}));
  CHECK(layer(zeros({0, 2}, kInt64, test::device())).shape() == Shape{0, 2, 3});
}

TEST_CASE("Embedding gradients") {
  const Embedding layer(test::place(kFloat64), 5, 3);
  const Tensor ids = tensor<std::int64_t>({4, 0, 4, 2}, {2, 2});
  CHECK_MODULE_GRADIENTS(layer, [&](const auto&) { return layer(test::here(ids)); });
}

}  // namespace
}  // namespace subquad::nn
