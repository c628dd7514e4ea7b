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

TEST_CASE("Embedding: a frozen row gets no gradient, all others get theirs") {
  const Embedding free(test::place(kFloat64), 5, 3), frozen(test::place(kFloat64), 5, 3, normal_init(1), 4);
  const Tensor ids = test::here(tensor<std::int64_t>({4, 0, 4, 2}, {2, 2}));
  const Tensor upstream = test::normal({2, 2, 3}, kFloat64, 1);
  for (const Embedding* layer : {&free, &frozen}) backward((*layer)(ids), upstream);
  CHECK_CLOSE(frozen(ids).value(), free(ids).value(), 0);
  for (Index v = 0; v < 5; ++v)
    for (Index d = 0; d < 3; ++d)
      CHECK(test::at(frozen.table().grad(), {v, d}) == (v == 4 ? 0 : test::at(free.table().grad(), {v, d})));
  CHECK_THROWS_WITH_AS(Embedding(test::place(kFloat64), 5, 3, normal_init(1), 5),
                       "embedding: frozen is 5, expected -1 or a row of the 5", Error);
}

}  // namespace
}  // namespace subquad::nn
