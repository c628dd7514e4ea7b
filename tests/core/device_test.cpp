// Copies and fills on every device, and between devices.
#include "subquad/core/device.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "subquad/core/npy.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/temporary_folder.h"

namespace subquad {
namespace {

using test::device;
using test::here;

constexpr DType kAll[] = {kFloat32, kFloat64, kBFloat16, kInt32, kInt64, kUInt8, kBool, kComplex64, kComplex128};

// Small whole numbers, which every dtype holds exactly.
Tensor small_numbers(const Shape& shape, DType dtype) {
  Tensor numbers = empty({shape.size()}, kInt64, kCpu);
  for (Index i = 0; i < numbers.size(); ++i) numbers.data<Index>()[i] = (i * 7 + 1) % 127;
  return numbers.to(dtype).reshape(shape);
}

struct Layout {
  const char* name;
  Shape shape;                    // of the whole tensor
  Tensor (*view)(const Tensor&);  // the part that is copied
};

const std::vector<Layout> kLayouts = {
    {"whole", {5, 300}, [](const Tensor& t) { return t; }},
    {"one element", {1}, [](const Tensor& t) { return t; }},
    {"scalar", {3}, [](const Tensor& t) { return t.select(0, 1); }},
    {"nothing", {4, 0, 3}, [](const Tensor& t) { return t; }},
    {"columns", {70, 40}, [](const Tensor& t) { return t.slice(1, 3, 20); }},
    {"aligned columns", {9, 64}, [](const Tensor& t) { return t.slice(1, 16, 48); }},
    {"every third", {4000}, [](const Tensor& t) { return t.slice(0, 1, 4000, 3); }},
    {"transposed", {33, 65}, [](const Tensor& t) { return t.transpose(0, 1); }},
    {"transposed batch", {2, 9, 3, 70}, [](const Tensor& t) { return t.transpose(1, 3); }},
    {"heads", {2, 17, 3, 16}, [](const Tensor& t) { return t.transpose(1, 2); }},
    {"turned",
     {3, 4, 5, 6},
     [](const Tensor& t) {
       return t.permute({3, 1, 0, 2});
     }},
    {"long", {5000}, [](const Tensor& t) { return t; }},
    {"eight dimensions",
     {2, 3, 2, 2, 2, 2, 2, 3},
     [](const Tensor& t) {
       return t.permute({7, 5, 6, 4, 3, 2, 0, 1});
     }},
};

TEST_CASE("copies keep every bit, whatever the layouts and devices") {
  for (const Layout& layout : kLayouts) {
    CAPTURE(layout.name);
    for (const DType dtype : kAll) {
      CAPTURE(dtype_name(dtype));
      const Tensor whole = small_numbers(layout.shape, dtype);
      const Tensor expected = layout.view(whole).contiguous();
      const Tensor there = whole.to(device());
      CHECK(test::same_bits(there, whole));
      CHECK(test::same_bits(layout.view(there), expected));          // read with strides
      CHECK(test::same_bits(layout.view(there).clone(), expected));  // on the device
      Tensor target = zeros(layout.shape, dtype, device());
      Tensor part = layout.view(target);
      copy(here(expected), part);  // written with strides
      CHECK(test::same_bits(part, expected));
      fill(target, 0);
      copy(expected, part);  // from the CPU into strides
      CHECK(test::same_bits(part, expected));
    }
  }
}

TEST_CASE("elements outside of a strided target stay as they are") {
  Tensor target = full({6, 8}, 9, kFloat32, device());
  Tensor part = target.slice(0, 1, 5, 2).slice(1, 2, 6);
  copy(zeros({2, 4}, kFloat32, device()), part);
  const Tensor seen = test::doubles(target);
  double sum = 0;
  for (const double x : seen.span<double>()) sum += x;
  CHECK_EQ(sum, 9 * (48 - 8));
  CHECK_EQ(test::at(target, {1, 2}), 0);
  CHECK_EQ(test::at(target, {3, 6}), 9);
}

TEST_CASE("every dtype converts into every other as on the CPU") {
  const Tensor numbers = tensor<double>({-3.75, -1, -0.0, 0, 0.5, 1, 2.999, 100.5}, {2, 4});
  const Tensor many = numbers.expand({300, 2, 4});
  for (const DType from : kAll) {
    for (const DType to : kAll) {
      if (is_complex(from) && !is_complex(to)) continue;
      CAPTURE(dtype_name(from));
      CAPTURE(dtype_name(to));
      const bool no_sign = from == kUInt8 || to == kUInt8;  // a negative float as unsigned is nobody's promise
      const Tensor source = (no_sign ? many.slice(1, 1, 2) : many).to(from);
      const Tensor expected = source.to(to);
      CHECK(test::same_bits(here(source).to(to), expected));
      Tensor crossed = empty(expected.shape(), to, device());
      copy(source, crossed);
      CHECK(test::same_bits(crossed, expected));
      Tensor back = empty(expected.shape(), to, kCpu);
      copy(here(source), back);
      CHECK(test::same_bits(back, expected));
    }
  }
}

TEST_CASE("fill writes every element and no other") {
  for (const Layout& layout : kLayouts) {
    CAPTURE(layout.name);
    for (const DType dtype : kAll) {
      CAPTURE(dtype_name(dtype));
      for (const double value : {0.0, 1.0}) {
        Tensor whole = zeros(layout.shape, dtype, device());
        fill(whole, 1 - value);
        Tensor part = layout.view(whole);
        fill(part, value);
        Tensor expected = full(layout.shape, 1 - value, dtype, kCpu);
        Tensor expected_part = layout.view(expected);
        fill(expected_part, value);
        CHECK(test::same_bits(whole, expected));
      }
    }
  }
  CHECK_EQ(test::at(full({1001}, 2.5, kFloat32, device()), 1000), 2.5);
}

TEST_CASE("a tensor may change as soon as its copy to a device was asked for") {
  Tensor source = full({1000}, 1, kFloat32, kCpu);
  const Tensor copied = here(source.clone());  // on the CPU here() copies nothing
  Tensor target = zeros({1000}, kFloat32, device());
  copy(source, target);
  fill(source, 2);
  CHECK_EQ(test::at(copied, 999), 1);
  CHECK_EQ(test::at(target, 0), 1);
  CHECK_EQ(test::at(target, 999), 1);
}

TEST_CASE("copies that are larger than what they are staged in") {
  Tensor source = empty({(Index{36} << 20) + 3}, kUInt8, kCpu);
  for (Index i = 0; i < source.size(); ++i) source.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * i >> 7);
  const Tensor there = source.to(device());
  CHECK(test::same_bits(there, source));
}

TEST_CASE("files take tensors from every device") {
  const test::TemporaryFolder folder;
  const Tensor columns = arange(12, kFloat32, device()).reshape({3, 4}).transpose(0, 1);
  write_npy(folder / "a.npy", columns);
  CHECK(test::same_bits(read_npy(folder / "a.npy"), columns));
}

TEST_CASE("a device has a name") {
  CHECK_EQ(device_name(kCpu), "cpu");
  CHECK_FALSE(device_name(device()).empty());
}

}  // namespace
}  // namespace subquad
