#include "subquad/core/tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <utility>

#include "subquad/core/as_shape.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;
using test::here;

Tensor counting(const Shape& shape) {
  return arange(shape.size(), kFloat32, device()).reshape(shape);
}

template <class T>
concept GivesSpan = requires(T tensor) {
  std::forward<T>(tensor).template span<float>();
};

// What a span of a temporary points to is gone before a loop over it begins.
static_assert(GivesSpan<Tensor&> && GivesSpan<const Tensor&>);
static_assert(!GivesSpan<Tensor> && !GivesSpan<const Tensor>);

TEST_CASE("a handle shares its storage, a clone does not") {
  Tensor a = counting({2, 3});
  Tensor b = a;
  const Tensor c = a.clone();
  fill(b, 7);
  CHECK_EQ(test::at(a, {1, 2}), 7);
  CHECK_EQ(test::at(c, {1, 2}), 5);
  CHECK(a.shares_storage_with(b));
  CHECK_FALSE(a.shares_storage_with(c));
}

TEST_CASE("views see the same elements") {
  const Tensor a = counting({2, 3, 4});
  CHECK_EQ(test::at(a.slice(1, 1, 3), {1, 1, 3}), 23);
  CHECK_EQ(test::at(a.slice(2, 0, 4, 3), {0, 0, 1}), 3);
  CHECK_EQ(a.slice(2, 0, 4, 3).shape(), Shape{2, 3, 2});
  CHECK_EQ(test::at(a.select(0, 1), {2, 0}), 20);
  CHECK_EQ(test::at(a.transpose(0, 2), {3, 1, 1}), 19);
  CHECK_EQ(a.transpose(-1, 0).shape(), Shape{4, 3, 2});
  CHECK_EQ(test::at(a.permute({2, 0, 1}), {1, 1, 2}), 21);
  CHECK_EQ(a.unsqueeze(-1).shape(), Shape{2, 3, 4, 1});
  CHECK_EQ(a.unsqueeze(0).squeeze(0).shape(), a.shape());
  CHECK_EQ(test::at(counting({3, 1}).expand({2, 3, 5}), {1, 2, 4}), 2);
}

TEST_CASE("an empty slice is legal, one outside is not") {
  const Tensor a = counting({2, 3});
  CHECK_EQ(a.slice(1, 3, 3).shape(), Shape{2, 0});
  CHECK_THROWS_WITH_AS(
      a.slice(1, 2, 4),
      "slice: [2, 4) by 1 of dimension 1 of shape [2, 3], expected 0 <= start <= stop <= 3 and a step of "
      "at least 1",
      ShapeError);
  CHECK_THROWS_WITH_AS(a.select(0, 2), "select: index 2 of dimension 0 of shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(a.dim(2), "dim: dimension 2 of a tensor of shape [2, 3], expected one in [-2, 2)", ShapeError);
  CHECK_THROWS_WITH_AS(a.permute({0, 0}), "permute: dimension 0 is given twice for shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(a.squeeze(0), "squeeze: dimension 0 of shape [2, 3] is not 1", ShapeError);
  CHECK_THROWS_WITH_AS(a.expand({4, 3}), "expand: shape [2, 3] does not expand to [4, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(a.expand({3}), "expand: shape [2, 3] does not expand to [3]", ShapeError);
}

TEST_CASE("bytes_as is a view of whole elements") {
  const Tensor a = counting({3, 4});
  const Tensor wide = a.bytes_as(kComplex64, {3, 2});
  CHECK(wide.shares_storage_with(a));
  CHECK_EQ(wide.shape(), Shape{3, 2});
  CHECK_EQ(test::at(wide.select(0, 1).bytes_as(kFloat32, {4}), {3}), 7);
  CHECK_EQ(a.slice(0, 0, 0).bytes_as(kFloat64, {5, 0}).shape(), Shape{5, 0});
  CHECK_THROWS_WITH_AS(a.bytes_as(kComplex64, {3, 4}),
                       "bytes_as: 48 bytes of [3, 4] float32 from byte 0 on are not [3, 4] complex64", ShapeError);
  CHECK_THROWS_WITH_AS(a.reshape({12}).slice(0, 1, 5).bytes_as(kFloat64, {2}),
                       "bytes_as: 16 bytes of [4] float32 from byte 4 on are not [2] float64", ShapeError);
  CHECK_THROWS_WITH_AS(a.transpose(0, 1).bytes_as(kFloat64, {6}),
                       "bytes_as: shape [4, 3] with strides [1, 4], expected a contiguous tensor", ShapeError);
}

TEST_CASE("reshape is a view wherever strides allow") {
  const Tensor a = counting({2, 3, 4});
  CHECK_EQ(a.reshape({6, -1}).shape(), Shape{6, 4});
  CHECK_EQ(test::at(a.reshape({4, 6}), {3, 5}), 23);
  const Tensor heads = counting({2, 5, 6}).reshape({2, 5, 3, 2}).transpose(1, 2);  // [B, H, N, E] over [B, N, H, E]
  CHECK_EQ(test::at(heads.transpose(1, 2).reshape({2, 5, 6}), {1, 4, 5}), 59);
  CHECK_EQ(a.slice(1, 0, 2).reshape({2, 8}).shape(), Shape{2, 8});
  CHECK(a.slice(1, 0, 2).reshape({2, 8}).shares_storage_with(a));
  CHECK_EQ(a.slice(0, 1, 2).reshape({12}).shape(), Shape{12});
  CHECK_EQ(counting({3, 1, 2}).transpose(0, 1).reshape({6}).shape(), Shape{6});
  CHECK_EQ(zeros({0, 3}, kFloat32, device()).reshape({3, 0, 5}).shape(), Shape{3, 0, 5});
  CHECK_EQ(counting({1}).reshape({}).shape(), Shape{});
  CHECK_THROWS_WITH_AS(
      a.transpose(0, 1).reshape({24}),
      "reshape: shape [3, 2, 4] with strides [4, 12, 1] cannot be viewed as [24]; call contiguous() first", ShapeError);
  CHECK_THROWS_WITH_AS(a.reshape({5, -1}), "reshape: 24 elements of shape [2, 3, 4] do not fill shape [5, -1]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(a.reshape({7}), "reshape: 24 elements of shape [2, 3, 4] do not fill shape [7]", ShapeError);
}

TEST_CASE("as_shape copies only where reshape cannot be a view") {
  const Tensor a = counting({2, 3, 4}), half = a.slice(2, 0, 2), turned = a.transpose(0, 1);
  CHECK(as_shape(half, {6, 2}).shares_storage_with(a));
  CHECK_EQ(test::at(as_shape(half, {6, 2}), {5, 1}), 21);
  CHECK_FALSE(as_shape(half, {12}).shares_storage_with(a));
  CHECK_EQ(test::at(as_shape(turned, {24}), {4}), 12);
  CHECK_EQ(as_shape(a.slice(0, 1, 1), {4, 0}).shape(), Shape{4, 0});
  CHECK_THROWS_AS(as_shape(a, {5}), ShapeError);
}

TEST_CASE("contiguous copies only what is not") {
  const Tensor a = counting({2, 3});
  CHECK(a.contiguous().shares_storage_with(a));
  const Tensor t = a.transpose(0, 1);
  CHECK_FALSE(t.is_contiguous());
  const Tensor c = t.contiguous();
  CHECK(c.is_contiguous());
  CHECK_EQ(test::at(c, {2, 1}), 5);
  CHECK_EQ(test::at(c, {0, 1}), 3);
  CHECK(counting({1, 5}).transpose(0, 1).is_contiguous());
}

TEST_CASE("dtypes convert element by element") {
  const Tensor a = here(tensor<float>({-1.5f, 0.0f, 2.75f}, {3}));
  CHECK_EQ(test::at(a.to(kInt64), 0), -1);
  CHECK_EQ(test::at(a.to(kBool), 1), 0);
  CHECK_EQ(test::at(a.to(kBool), 2), 1);
  CHECK_EQ(test::at(a.to(kBFloat16).to(kFloat64), 2), 2.75);
  CHECK_EQ(a.to(kComplex64).to(kComplex128).dtype(), kComplex128);
  CHECK_THROWS_WITH_AS(a.to(kComplex64).to(kFloat32), "copy: from complex64 to float32 would drop the imaginary part",
                       DTypeError);
  CHECK_THROWS_WITH_AS(a.data<double>(), "data: the tensor is float32, asked for as float64", DTypeError);
}

TEST_CASE("bfloat16 rounds to nearest even and keeps NaN") {
  CHECK_EQ(static_cast<float>(BFloat16(1.00390625f)), 1.0f);       // half way: to even
  CHECK_EQ(static_cast<float>(BFloat16(1.01171875f)), 1.015625f);  // half way: to even, upwards
  CHECK_EQ(static_cast<float>(BFloat16(3.0e38f)), 3.0040553e38f);
  CHECK(std::isinf(static_cast<float>(BFloat16(3.4e38f))));
  CHECK(std::isnan(static_cast<float>(BFloat16(NAN))));
}

TEST_CASE("copy takes any strides") {
  const Tensor from = counting({3, 4});
  Tensor to = zeros({4, 3}, kFloat64, device());
  Tensor flipped = to.transpose(0, 1);
  copy(from, flipped);
  CHECK_EQ(test::at(to, {3, 1}), 7);
  Tensor column = to.slice(1, 0, 1);
  fill(column, -1);
  CHECK_EQ(test::at(to, {2, 0}), -1);
  CHECK_EQ(test::at(to, {2, 1}), 6);
  CHECK_THROWS_AS(copy(from, to), ShapeError);
}

TEST_CASE("in-place writes are counted for every handle of a storage") {
  Tensor a = zeros({4}, kFloat32, device());
  Tensor part = a.slice(0, 1, 2);
  const auto before = a.version();
  fill(part, 3);
  CHECK_EQ(a.version(), before + 1);
}

TEST_CASE("impossible shapes are refused") {
  CHECK_THROWS_WITH_AS(empty({-1}, kFloat32, device()), "empty: shape [-1] has a negative extent", ShapeError);
  CHECK_THROWS_AS(empty({Index{1} << 40, Index{1} << 40}, kFloat32, device()), ShapeError);
  CHECK_THROWS_AS(empty({(Index{1} << 62) - 1}, kFloat32, device()), ShapeError);
  CHECK_THROWS_WITH_AS(tensor<float>({1.0f}, {2}), "tensor: 1 values for shape [2]", ShapeError);
  CHECK_THROWS_AS(Tensor().dim(0), Error);
  CHECK_THROWS_AS(Tensor().version(), Error);
}

TEST_CASE("tensors at equal distances are seen as one stack, others are not") {
  const Tensor all = arange(24, kFloat32, kCpu).reshape({4, 6});
  const auto row = [&](Index i) { return all.select(0, i).slice(0, 1, 4); };
  const Tensor stack = Tensor::stack_where_they_lie({row(0), row(1), row(2)});
  CHECK_EQ(stack.shape(), Shape{3, 3});
  CHECK_EQ(stack.strides(), Shape{6, 1});
  CHECK(stack.shares_storage_with(all));
  for (Index i = 0; i < 3; ++i) CHECK(test::same_bits(stack.select(0, i), row(i)));
  CHECK_EQ(Tensor::stack_where_they_lie({row(0), row(2)}).strides(), Shape{12, 1});
  CHECK_EQ(Tensor::stack_where_they_lie({row(1)}).shape(), Shape{1, 3});
  CHECK_FALSE(Tensor::stack_where_they_lie({row(0), row(1), row(3)}).defined());
  CHECK_FALSE(Tensor::stack_where_they_lie({row(1), row(0)}).defined());
  CHECK_FALSE(Tensor::stack_where_they_lie({row(0), row(1).clone()}).defined());
  CHECK_FALSE(Tensor::stack_where_they_lie({row(0), all.select(0, 1)}).defined());
  CHECK_FALSE(Tensor::stack_where_they_lie({row(0), Tensor()}).defined());
  CHECK_FALSE(Tensor::stack_where_they_lie({}).defined());
}

TEST_CASE("printing is like NumPy's") {
  const std::string where = cat(device());
  CHECK_EQ(cat(counting({2, 2})), "[[0, 1],\n [2, 3]]  [2, 2] float32 " + where);
  CHECK_EQ(cat(here(tensor<bool>({true, false}, {2}))), "[true, false]  [2] bool " + where);
  CHECK_EQ(cat(counting({2000})), "[0, 1, 2, ..., 1997, 1998, 1999]  [2000] float32 " + where);
  CHECK_EQ(cat(Tensor()), "undefined tensor");
  CHECK_EQ(cat(full({}, 2.5, kFloat64, device())), "2.5  [] float64 " + where);
}

TEST_CASE("item reads the only element, wherever it is") {
  CHECK_EQ(counting({2, 3}).select(0, 1).slice(0, 2, 3).item<float>(), 5.0f);
  CHECK_EQ(full({}, 2.5, kFloat64, device()).item<double>(), 2.5);
  CHECK_THROWS_WITH_AS(counting({2}).item<float>(), "item: shape [2], expected one element", ShapeError);
  CHECK_THROWS_WITH_AS(counting({1}).item<double>(), "data: the tensor is float32, asked for as float64", DTypeError);
}

TEST_CASE("broadcasting follows NumPy") {
  CHECK_EQ(broadcast_shapes("add", {3, 1}, {2, 1, 4}), Shape{2, 3, 4});
  CHECK_EQ(broadcast_shapes("add", {}, {0}), Shape{0});
  CHECK_THROWS_WITH_AS(broadcast_shapes("add", {2, 3}, {4}),
                       "add: shapes [2, 3] and [4] do not broadcast: dimension -1 is 3 and 4", ShapeError);
}

TEST_CASE("a shape has at most eight dimensions") {
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
}

TEST_CASE("devices are asked for by name") {
  CHECK_EQ(parse_device("cpu"), kCpu);
  CHECK_EQ(parse_device(cat(device())), device());
  CHECK_THROWS_WITH_AS(parse_device("gpu"), "device: 'gpu' is unknown, expected cpu, cuda or cuda:<number>",
                       DeviceError);
  CHECK_THROWS_WITH_AS(parse_device("cuda:x"), "device: 'cuda:x' is unknown, expected cpu, cuda or cuda:<number>",
                       DeviceError);
  CHECK_THROWS_AS(parse_device("cuda:99"), DeviceError);
}

TEST_CASE("fill writes zeros over what was there, and keeps the sign of a negative one") {
  Tensor t = full({37}, 5, kFloat32, kCpu);
  Tensor inner = t.slice(0, 1, 36);
  fill(inner, 0);
  for (Index i = 0; i < 37; ++i) CHECK(t.data<float>()[i] == (i == 0 || i == 36 ? 5 : 0));
  fill(t, -0.0);
  CHECK(std::signbit(t.data<float>()[36]));
}

TEST_CASE("fill of dimensions in any order writes no gap between them") {
  const Tensor memory = full({2, 3, 4, 5}, 5, kFloat32, kCpu);
  Tensor all = memory.transpose(1, 2).transpose(0, 3), some = memory.slice(2, 1, 3).transpose(1, 2);
  Tensor every_other = memory.slice(3, 0, 5, 2).transpose(0, 1);
  fill(every_other, 7);
  for (Index i = 0; i < 120; ++i) CHECK(memory.data<float>()[i] == (i % 5 % 2 == 0 ? 7 : 5));
  fill(all, 0);
  for (Index i = 0; i < 120; ++i) CHECK(memory.data<float>()[i] == 0);
  fill(some, 3);
  for (Index i = 0; i < 120; ++i) CHECK(memory.data<float>()[i] == (i / 5 % 4 == 1 || i / 5 % 4 == 2 ? 3 : 0));
}

}  // namespace
}  // namespace subquad
