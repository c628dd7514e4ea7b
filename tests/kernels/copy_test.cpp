#include "subquad/kernels/copy/copy.h"

#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad {
namespace {

using namespace subquad::test;

Tensor random_index(const Shape& shape, Index extent, std::uint64_t seed) {
  Rng rng(seed);
  Tensor out = zeros(shape, kInt64, kCpu);
  for (Index& i : out.span<Index>()) i = rng.below(extent);
  return here(out);
}

// Row-major position -> one index per dimension, and back.
std::vector<Index> unravel(Index flat, const Shape& shape) {
  std::vector<Index> out(static_cast<std::size_t>(shape.rank()));
  for (int d = shape.rank() - 1; d >= 0; --d) {
    out[static_cast<std::size_t>(d)] = flat % shape[d];
    flat /= shape[d];
  }
  return out;
}
Index ravel(const std::vector<Index>& index, const Shape& shape) {
  Index flat = 0;
  for (int d = 0; d < shape.rank(); ++d) flat = flat * shape[d] + index[static_cast<std::size_t>(d)];
  return flat;
}

struct PickCase {
  Shape shape;
  int dim;
  Index picks;
};
const PickCase kPickCases[] = {
    {{1}, 0, 1},         {{7}, 0, 11},      {{5, 3}, 0, 4},      {{5, 3}, 1, 7},        {{2, 3, 5}, -2, 6},
    {{2, 3, 5}, 2, 13},  {{0, 3}, 1, 4},    {{4, 3}, 0, 0},      {{3, 4, 0}, 1, 5},     {{3, 7}, 0, 2000},
    {{2, 5, 3}, 1, 999}, {{31, 65}, 0, 97}, {{300, 12}, 0, 700}, {{2, 300, 1}, 1, 900}, {{5, 64}, 0, 1000},
};

}  // namespace

TEST_CASE("concat equals the slow loop, for any dtype and strides") {
  for (const DType dtype : {kFloat32, kFloat64, kInt64, kInt32, kUInt8, kBool}) {
    const Tensor left = normal({2, 3, 4}, kFloat64, 1).to(dtype),
                 right = normal({4, 5, 2}, kFloat64, 2).to(dtype).transpose(0, 2);
    const Tensor nothing = zeros({2, 0, 4}, dtype, device()), a = doubles(left), b = doubles(right);
    for (const int dim : {1, -2}) {
      const Tensor joined = kernels::concat({left, right, nothing, left}, dim), out = doubles(joined);
      REQUIRE_EQ(joined.shape(), Shape{2, 11, 4});
      CHECK_EQ(joined.dtype(), dtype);
      for (Index i = 0; i < 2; ++i)
        for (Index j = 0; j < 11; ++j)
          for (Index k = 0; k < 4; ++k)
            CHECK_EQ(at(out, {i, j, k}), j < 3   ? at(a, {i, j, k})
                                         : j < 8 ? at(b, {i, j - 3, k})
                                                 : at(a, {i, j - 8, k}));
    }
    CHECK(same_bits(kernels::concat({left}, 0), left));
  }
}

TEST_CASE("slice_grad writes into the slice and leaves zeros elsewhere") {
  for_each_float([](DType dtype) {
    for (const auto& [start, stop, step] :
         {std::array<Index, 3>{0, 9, 1}, {2, 7, 1}, {1, 9, 3}, {4, 4, 1}, {8, 9, 5}}) {
      const Shape shape = {3, 9, 2};
      const Tensor upstream = normal(zeros(shape, dtype, kCpu).slice(1, start, stop, step).shape(), dtype, 1);
      const Tensor dout = doubles(upstream), dx = doubles(kernels::slice_grad(upstream, shape, 1, start, step));
      REQUIRE_EQ(dx.shape(), shape);
      for (Index i = 0; i < 3; ++i)
        for (Index j = 0; j < 9; ++j)
          for (Index k = 0; k < 2; ++k) {
            const bool inside = j >= start && j < stop && (j - start) % step == 0;
            CHECK_EQ(at(dx, {i, j, k}), inside ? at(dout, {i, (j - start) / step, k}) : 0.0);
          }
    }
  });
}

TEST_CASE("index_select and its gradient equal the slow loop") {
  for_each_float([](DType dtype) {
    for (const PickCase& c : kPickCases) {
      CAPTURE(c.shape);
      CAPTURE(c.picks);
      const int dim = c.dim < 0 ? c.dim + c.shape.rank() : c.dim;
      const Tensor x = normal(c.shape, dtype, 1), index = random_index({c.picks}, c.shape[dim], 2);
      const Shape out_shape = c.shape.with(dim, c.picks);
      const Tensor dout = normal(out_shape, dtype, 3);
      const Tensor elements = doubles(x), upstream = doubles(dout), picks = index.to(kCpu);
      Tensor want = zeros(out_shape, kFloat64, kCpu), want_dx = zeros(c.shape, kFloat64, kCpu);
      for (Index i = 0; i < want.size(); ++i) {
        std::vector<Index> place = unravel(i, out_shape);
        place[static_cast<std::size_t>(dim)] = picks.data<Index>()[place[static_cast<std::size_t>(dim)]];
        const Index source = ravel(place, c.shape);
        want.data<double>()[i] = at(elements, source);
        want_dx.data<double>()[source] += at(upstream, i);
      }
      CHECK_CLOSE(kernels::index_select(x, c.dim, index), want, 0.0);
      CHECK_CLOSE(kernels::index_select_grad(dout, c.dim, index, c.shape[dim]), want_dx, dot_tolerance(dtype, c.picks));
    }
  });
}

TEST_CASE("gather and its gradient equal the slow loop") {
  for_each_float([](DType dtype) {
    for (const PickCase& c : kPickCases) {
      CAPTURE(c.shape);
      CAPTURE(c.picks);
      const int dim = c.dim < 0 ? c.dim + c.shape.rank() : c.dim;
      Shape index_shape = c.shape.with(dim, c.picks);
      if (dim != 0 && index_shape[0] > 1) --index_shape[0];  // an index may be smaller than x
      const Tensor x = normal(c.shape, dtype, 1), index = random_index(index_shape, c.shape[dim], 2);
      const Tensor dout = normal(index_shape, dtype, 3);
      const Tensor elements = doubles(x), upstream = doubles(dout), picks = index.to(kCpu);
      Tensor want = zeros(index_shape, kFloat64, kCpu), want_dx = zeros(c.shape, kFloat64, kCpu);
      for (Index i = 0; i < want.size(); ++i) {
        std::vector<Index> place = unravel(i, index_shape);
        place[static_cast<std::size_t>(dim)] = picks.data<Index>()[i];
        const Index source = ravel(place, c.shape);
        want.data<double>()[i] = at(elements, source);
        want_dx.data<double>()[source] += at(upstream, i);
      }
      CHECK_CLOSE(kernels::gather(x, c.dim, index), want, 0.0);
      CHECK_CLOSE(kernels::gather_grad(dout, c.dim, index, c.shape), want_dx, dot_tolerance(dtype, c.picks));
    }
  });
}

TEST_CASE("picking reads any strides and any dtype") {
  const Tensor x = normal({4, 5, 6}, kFloat32, 1).transpose(0, 2), index = here(tensor<Index>({5, 0, 0, 2}, {4}));
  CHECK(same_bits(kernels::index_select(x, 0, index), kernels::index_select(x.contiguous(), 0, index)));
  const Tensor places = random_index({6, 2, 4}, 5, 3);
  CHECK(same_bits(kernels::gather(x, 1, places), kernels::gather(x.contiguous(), 1, places)));
  const Tensor dout = normal({4, 2, 6}, kFloat32, 2).transpose(0, 2);
  CHECK(same_bits(kernels::gather_grad(dout, 1, places, x.shape()),
                  kernels::gather_grad(dout.contiguous(), 1, places, x.shape())));
  const Tensor spread = here(tensor<Index>({5, 9, 0, 9, 0, 9, 2, 9}, {8})).slice(0, 0, 8, 2);  // `index`, with gaps
  CHECK(same_bits(kernels::index_select(x, 0, spread), kernels::index_select(x, 0, index)));
  const Tensor rows = normal({4, 3}, kFloat32, 4), columns = places.transpose(0, 2).contiguous().transpose(0, 2);
  CHECK(same_bits(kernels::index_select_grad(rows, 0, spread, 6), kernels::index_select_grad(rows, 0, index, 6)));
  CHECK(same_bits(kernels::gather(x, 1, columns), kernels::gather(x, 1, places)));
  CHECK(same_bits(kernels::gather_grad(dout, 1, columns, x.shape()), kernels::gather_grad(dout, 1, places, x.shape())));
}

TEST_CASE("picking moves elements and rows of any size") {
  const Tensor index = random_index({600}, 9, 1);
  for (const DType dtype : {kUInt8, kBool, kBFloat16, kInt32, kInt64, kFloat64, kComplex64, kComplex128})
    for (const Index width : {1, 2, 3, 4, 16}) {
      CAPTURE(dtype);
      CAPTURE(width);
      const Tensor x = random_index({9, width}, 2, 2).to(dtype);
      const Tensor want = kernels::index_select(x.to(kCpu), 0, index.to(kCpu));
      CHECK(same_bits(kernels::index_select(x, 0, index), want));
      CHECK(same_bits(kernels::gather(x, 0, index.unsqueeze(1).expand({600, width})), want));
    }
}

TEST_CASE("picking: the same bits for any number of threads") {
  const Index count = interpreted() ? 5'000 : 20'000;
  const Tensor dout = normal({count, 33}, kFloat32, 1), index = random_index({count}, 5, 2);
  const Tensor places = random_index({count / 10, 33}, 5, 3), few = normal({count / 10, 33}, kFloat32, 4);
  CHECK(same_for_any_thread_count([&] {
    return std::vector<Tensor>{kernels::index_select_grad(dout, 0, index, 5),
                               kernels::gather_grad(few, 0, places, {5, 33})};
  }));
}

// On CUDA keys are counted in chunks of 2048, and more than 128 chunks are added up several by a thread.
// More than 256 keys take two passes. Rows differ, so that each must be added once and to its own; their sums are exact
// in float32.
TEST_CASE("index_select_grad of very many rows") {
  const Index count = 129 * 2048 + 5;
  const Tensor index = random_index({count}, 300, 1), places = index.to(kCpu);
  Tensor dout = zeros({count, 1}, kFloat32, kCpu);
  std::vector<float> want(300, 0.0f);
  for (Index i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i % 64);
    dout.data<float>()[i] = value;
    want[static_cast<std::size_t>(places.data<Index>()[i])] += value;
  }
  CHECK(same_bits(kernels::index_select_grad(here(dout), 0, index, 300), tensor<float>(want, {300, 1})));
}

TEST_CASE("picking complains of an index out of range") {
  const Tensor x = zeros({2, 3}, kFloat32, device());
  const auto complaint = [](auto&& run) -> std::string {
    try {
      run();
      synchronize(device());  // a kernel's complaint comes with the next wait
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Tensor high = here(tensor<Index>({0, 3}, {2})), low = here(tensor<Index>({-1}, {1}));
  const Tensor pair = here(tensor<Index>({1, 2}, {1, 2}));
  const std::string expected = "expected 0 <= index < ";
  CHECK_EQ(complaint([&] { kernels::index_select(x, 1, high); }), "index_select: index[1] is 3, " + expected + "3");
  CHECK_EQ(complaint([&] { kernels::index_select(x, 1, low); }), "index_select: index[0] is -1, " + expected + "3");
  CHECK_EQ(complaint([&] { kernels::gather(x, 0, pair); }), "gather: index[1] is 2, " + expected + "2");
  // The gradients complain, too; on CUDA in the forward's name.
  CHECK_NE(complaint([&] { kernels::index_select_grad(x, 0, high, 3); }), "");
  CHECK_NE(complaint([&] { kernels::gather_grad(x, 0, high.unsqueeze(1).expand({2, 3}), {2, 3}); }), "");
  CHECK_EQ(complaint([&] { kernels::gather(x, 0, zeros({1, 2}, kInt64, device())); }), "");
}

TEST_CASE("picking: the index lies where x does") {
  if (device().is_cpu()) return;
  const Tensor x = zeros({2, 3}, kFloat32, device()), index = tensor<Index>({0, 1}, {2});
  CHECK_THROWS_WITH_AS(kernels::index_select(x, 1, index),
                       cat("index_select: index is [2] int64 cpu, expected on ", device(), " like x").c_str(),
                       DeviceError);
  CHECK_THROWS_AS(kernels::gather(x, 1, index.unsqueeze(0)), DeviceError);
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("copy: complaints") {
    const Tensor x = zeros({2, 3}, kFloat32, kCpu), index = tensor<Index>({0, 3}, {2});
    CHECK_THROWS_WITH_AS(kernels::concat({}, 0), "concat: no tensors, expected at least one", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::concat({x, zeros({2, 4}, kFloat32, kCpu)}, 0),
                         "concat: tensors[1] is [2, 4] float32 cpu, expected shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::concat({x, zeros({2, 3}, kInt64, kCpu)}, 0),
                         "concat: tensors[1] is [2, 3] int64 cpu, expected float32 like tensors[0]", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::concat({x}, 2), "concat: dimension 2 is out of range for shape [2, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::index_select(x, 1, x), "index_select: index is [2, 3] float32 cpu, expected rank 1",
                         ShapeError);
    CHECK_THROWS_WITH_AS(kernels::index_select_grad(x, 1, index, 9),
                         "index_select_grad: dout is [2, 3] float32 cpu, expected shape [2, 2]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::gather(x, 1, index), "gather: index is [2] int64 cpu, expected rank 2", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::gather(x, 1, zeros({3, 1}, kInt64, kCpu)),
                         "gather: index is [3, 1] int64 cpu, expected at most 2 along dimension 0 of x [2, 3]",
                         ShapeError);
    CHECK_THROWS_WITH_AS(kernels::slice_grad(x, {2, 9, 3}, 1, 0),
                         "slice_grad: dout is [2, 3] float32 cpu, expected rank 3", ShapeError);
  }
}

}  // namespace subquad
