#include "subquad/kernels/embedding/embedding.h"

#include "subquad/core/parallel.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using namespace subquad::test;

// Mostly the last row, as padding tokens are.
Tensor skewed_ids(const Shape& shape, Index rows, std::uint64_t seed) {
  Rng rng(seed);
  Tensor out = zeros(shape, kInt64, kCpu);
  for (Index& id : out.span<Index>()) id = rng.uniform() < 0.7 ? rows - 1 : rng.below(rows);
  return out;
}

struct EmbeddingCase {
  Index rows, width;
  Shape ids;
};
const EmbeddingCase kCases[] = {
    {1, 1, {}}, {5, 3, {7}}, {17, 8, {4, 31}}, {3, 64, {0, 5}}, {40, 0, {6}}, {1000, 5, {2, 3}}, {7, 33, {2, 3, 401}},
};

}  // namespace

TEST_CASE("embedding and its gradient equal the slow loop") {
  for_each_float([](DType dtype) {
    for (const EmbeddingCase& c : kCases) {
      CAPTURE(c.ids);
      const Tensor table = normal({c.rows, c.width}, dtype, 1), ids = skewed_ids(c.ids, c.rows, 2);
      const Shape shape = c.ids.inserted(c.ids.rank(), c.width);
      const Tensor dout = normal(shape, dtype, 3);
      Tensor want = zeros(shape, kFloat64, kCpu), want_grad = zeros(table.shape(), kFloat64, kCpu);
      for (Index i = 0; i < ids.size(); ++i)
        for (Index d = 0; d < c.width; ++d) {
          const Index source = ids.data<Index>()[i] * c.width + d;
          want.data<double>()[i * c.width + d] = at(table, source);
          want_grad.data<double>()[source] += at(dout, i * c.width + d);
        }
      CHECK_CLOSE(kernels::embedding(table, ids), want, 0.0);
      CHECK_CLOSE(kernels::embedding_grad(dout, ids, c.rows), want_grad, dot_tolerance(dtype, ids.size()));
    }
  });
}

TEST_CASE("embedding: the same gradient bits for any number of threads") {
  const int before = num_threads();
  const Tensor ids = skewed_ids({8, 1000}, 17, 1), dout = normal({8, 1000, 64}, kFloat32, 2);
  set_num_threads(1);
  const Tensor want = kernels::embedding_grad(dout, ids, 17);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    CHECK(same_bits(kernels::embedding_grad(dout, ids, 17), want));
  }
  set_num_threads(before);
}

TEST_CASE("embedding: complaints name the place and the id") {
  const Tensor table = zeros({4, 2}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::embedding(table, tensor<Index>({0, 1, 2, 3, 4, 0}, {2, 3})),
                       "embedding: ids[1, 1] is 4, expected 0 <= id < 4, the rows of the table", Error);
  CHECK_THROWS_WITH_AS(kernels::embedding(table, tensor<Index>({-1}, {})),
                       "embedding: ids[] is -1, expected 0 <= id < 4, the rows of the table", Error);
  CHECK_THROWS_WITH_AS(kernels::embedding(table, zeros({2}, kInt32, kCpu)),
                       "embedding: ids is [2] int32 cpu, expected int64", DTypeError);
  CHECK_THROWS_WITH_AS(kernels::embedding(table.select(0, 0), zeros({2}, kInt64, kCpu)),
                       "embedding: table is [2] float32 cpu, expected rank 2", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::embedding_grad(table, zeros({3}, kInt64, kCpu), 4),
                       "embedding_grad: dout is [4, 2] float32 cpu, expected shape [3, 2]", ShapeError);
}

}  // namespace subquad
