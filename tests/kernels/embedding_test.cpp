#include "subquad/kernels/embedding/embedding.h"

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad {
namespace {

using namespace subquad::test;

// Mostly the last row, as padding tokens are.
Tensor skewed_ids(const Shape& shape, Index rows, std::uint64_t seed) {
  Rng rng(seed);
  Tensor out = zeros(shape, kInt64, kCpu);
  for (Index& id : out.span<Index>()) id = rng.uniform() < 0.7 ? rows - 1 : rng.below(rows);
  return here(out);
}

struct EmbeddingCase {
  Index rows, width;
  Shape ids;
};
const EmbeddingCase kCases[] = {
    {1, 1, {}},   {5, 3, {7}},       {17, 8, {4, 31}},     {3, 64, {0, 5}},
    {40, 0, {6}}, {1000, 5, {2, 3}}, {7, 33, {2, 3, 401}}, {300, 12, {9, 300}},
};

}  // namespace

TEST_CASE("embedding and its gradient equal the slow loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const EmbeddingCase& c : kCases) {
        CAPTURE(c.ids);
        const Tensor table = normal({c.rows, c.width}, dtype, 1), ids = skewed_ids(c.ids, c.rows, 2);
        const Shape shape = c.ids.inserted(c.ids.rank(), c.width);
        const Tensor dout = normal(shape, dtype, 3);
        Tensor want = zeros(shape, kFloat64, kCpu), want_grad = zeros(table.shape(), kFloat64, kCpu);
        const Tensor rows = doubles(table), upstream = doubles(dout), tokens = ids.to(kCpu);
        for (Index i = 0; i < ids.size(); ++i)
          for (Index d = 0; d < c.width; ++d) {
            const Index source = tokens.data<Index>()[i] * c.width + d;
            want.data<double>()[i * c.width + d] = at(rows, source);
            want_grad.data<double>()[source] += at(upstream, i * c.width + d);
          }
        CHECK_CLOSE(kernels::embedding(table, ids), want, 0.0);
        CHECK_CLOSE(kernels::embedding_grad(dout, ids, c.rows), want_grad, dot_tolerance(dtype, ids.size()));
      }
    });
  });
}

TEST_CASE("embedding: tables and gradients that do not start at a multiple of 16 bytes") {
  for_each_float([](DType dtype) {
    const Tensor table = normal({1 + 40 * 8}, dtype, 1).slice(0, 1, 321).reshape({40, 8}),
                 ids = skewed_ids({70}, 40, 2);
    const Tensor dout = normal({1 + 70 * 8}, dtype, 3).slice(0, 1, 561).reshape({70, 8});
    CHECK(same_bits(kernels::embedding(table, ids), kernels::embedding(table.clone(), ids)));
    CHECK_CLOSE(kernels::embedding_grad(dout, ids, 40), kernels::embedding_grad(dout.clone(), ids, 40),
                dot_tolerance(dtype, 70));
  });
}

TEST_CASE("embedding: the same gradient bits for any number of threads") {
  const Index count = interpreted() ? 500 : 1000;
  const Tensor ids = skewed_ids({8, count}, 17, 1), dout = normal({8, count, 64}, kFloat32, 2);
  CHECK(same_for_any_thread_count([&] { return std::vector<Tensor>{kernels::embedding_grad(dout, ids, 17)}; }));
}

TEST_CASE("embedding: an id out of range gives zeros, then an error with the next wait for the device") {
  if (device().is_cpu()) return;
  const Tensor table = full({4, 2}, 1, kFloat32, device());
  const Tensor high = here(tensor<Index>({0, 4, 3}, {3})), low = here(tensor<Index>({0, -1, 3}, {3}));
  const Tensor out = kernels::embedding(table, high), dtable = kernels::embedding_grad(out, low, 4);
  CHECK_THROWS_WITH_AS(synchronize(device()), "embedding: ids[1] is 4, expected 0 <= id < 4, the rows of the table",
                       Error);
  CHECK(same_bits(out, tensor<float>({1, 1, 0, 0, 1, 1}, {3, 2})));
  CHECK(same_bits(dtable, tensor<float>({1, 1, 0, 0, 0, 0, 1, 1}, {4, 2})));
  CHECK_THROWS_AS(kernels::embedding(table, zeros({2}, kInt64, kCpu)), DeviceError);
}

TEST_SUITE("cpu") {  // the door is the same on every device; an id's range is checked there on the CPU
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
}

}  // namespace subquad
