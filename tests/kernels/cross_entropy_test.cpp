#include "subquad/kernels/cross_entropy/cross_entropy.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "subquad/core/readback.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/rows.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

kernels::CrossEntropy reference(const Tensor& of, const Tensor& with) {
  const Tensor logits = doubles(of), labels = with.to(kCpu);
  const Index batch = logits.dim(0), classes = logits.dim(1);
  kernels::CrossEntropy out = {zeros({batch}, kFloat64, kCpu), zeros({batch, classes}, kFloat64, kCpu)};
  for (Index b = 0; b < batch; ++b) {
    const auto label = static_cast<Index>(at(labels, b));
    double top = -kInfinity, sum = 0;
    for (Index c = 0; c < classes; ++c) top = std::max(top, at(logits, {b, c}));
    for (Index c = 0; c < classes; ++c) sum += std::exp(at(logits, {b, c}) - top);
    out.losses.data<double>()[b] = std::log(sum) - (at(logits, {b, label}) - top);
    for (Index c = 0; c < classes; ++c)
      out.dlogits.data<double>()[b * classes + c] = std::exp(at(logits, {b, c}) - top) / sum - (c == label ? 1 : 0);
  }
  return out;
}

Tensor labels_for(Index batch, Index classes) {
  Tensor labels = zeros({batch}, kInt64, kCpu);
  for (Index b = 0; b < batch; ++b) labels.data<std::int64_t>()[b] = (b * 7 + 3) % classes;
  return here(labels);
}

TEST_CASE("cross_entropy equals the loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const std::vector<Shape> shapes = {{0, 4},   {1, 1},   {1, 2},   {3, 10},   {7, 16},   {5, 17},
                                         {2, 61},  {3, 256}, {15, 3},  {16, 10},  {17, 4},   {33, 64},
                                         {16, 65}, {40, 7},  {17, 65}, {15, 255}, {33, 257}, {2, 4097}};
      for (const Shape& shape : with_row_shapes(shapes, {600, 31})) {
        CAPTURE(shape);
        const Tensor logits = uniform(shape, dtype, -8, 8, 11), labels = labels_for(shape[0], shape[1]);
        const kernels::CrossEntropy want = reference(logits, labels);
        const kernels::CrossEntropy got = kernels::cross_entropy(logits, labels, true);
        CHECK_CLOSE(got.losses, want.losses, pointwise_tolerance(dtype));
        CHECK_CLOSE(got.dlogits, want.dlogits, pointwise_tolerance(dtype));

        const kernels::CrossEntropy value = kernels::cross_entropy(logits, labels, false);
        CHECK(same_bits(value.losses, got.losses));
        CHECK_FALSE(value.dlogits.defined());
      }
    });
  });
}

TEST_CASE("cross_entropy of rows that start anywhere") {
  for (const Index classes : {60, 516, 1028}) {
    const Tensor logits = unaligned(uniform({3, classes}, kFloat32, -8, 8, 11)), labels = labels_for(3, classes);
    const kernels::CrossEntropy want = reference(logits, labels), got = kernels::cross_entropy(logits, labels, true);
    CHECK_CLOSE(got.losses, want.losses, pointwise_tolerance(kFloat32));
    CHECK_CLOSE(got.dlogits, want.dlogits, pointwise_tolerance(kFloat32));
    const Tensor ones = full({3}, 1, kFloat32, device());
    CHECK(same_bits(kernels::cross_entropy_grad(ones, unaligned(got.dlogits)), got.dlogits));
  }
}

TEST_CASE("cross_entropy_grad scales each row") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape :
           with_row_shapes({{0, 4}, {3, 0}, {3, 10}, {5, 33}, {16, 10}, {37, 7}, {17, 64}, {16, 65}}, {600, 31})) {
        const Tensor up = normal({shape[0]}, dtype, 1), dlogits = normal(shape, dtype, 2);
        const Tensor factors = doubles(up);
        Tensor want = doubles(dlogits).clone();
        for (Index i = 0; i < want.size(); ++i) want.data<double>()[i] *= at(factors, i / shape[1]);
        CHECK_CLOSE(kernels::cross_entropy_grad(up, dlogits), want, pointwise_tolerance(dtype));
      }
    });
  });
}

// As large as what goes past the caches: 34 MiB of gradients, the same rows over and over.
TEST_CASE("cross_entropy of many large rows is that of a few") {
  if (!device().is_cpu()) return;
  constexpr Index kFew = 2048, kTimes = 17, kClasses = 256;
  Tensor few = uniform({kFew, kClasses}, kFloat32, -8, 8, 11);
  Tensor impossible = few.select(0, 77);
  fill(impossible, -kInfinity);
  const Tensor few_labels = labels_for(kFew, kClasses), few_up = normal({kFew}, kFloat32, 1);
  Tensor many = empty({kTimes * kFew, kClasses}, kFloat32, kCpu), labels = empty({kTimes * kFew}, kInt64, kCpu);
  Tensor up = empty({kTimes * kFew}, kFloat32, kCpu);
  const auto part = [](const Tensor& of, Index i) { return of.slice(0, i * kFew, (i + 1) * kFew); };
  for (Index i = 0; i < kTimes; ++i) {
    Tensor to = part(many, i), labels_to = part(labels, i), up_to = part(up, i);
    copy(few, to);
    copy(few_labels, labels_to);
    copy(few_up, up_to);
  }
  for_each_simd_target([&] {
    const kernels::CrossEntropy want = kernels::cross_entropy(few, few_labels, true);
    const kernels::CrossEntropy got = kernels::cross_entropy(many, labels, true);
    const Tensor want_grad = kernels::cross_entropy_grad(few_up, want.dlogits);
    const Tensor got_grad = kernels::cross_entropy_grad(up, got.dlogits);
    for (Index i = 0; i < kTimes; ++i) {
      CAPTURE(i);
      CHECK(same_bits(part(got.losses, i), want.losses));
      CHECK(same_bits(part(got.dlogits, i), want.dlogits));
      CHECK(same_bits(part(got_grad, i), want_grad));
    }
  });
}

// With more columns of `value` on the right.
Tensor widened(const Tensor& t, Index columns, double value) {
  Tensor out = full({t.dim(0), columns}, value, t.dtype(), t.device());
  Tensor left = out.slice(1, 0, t.dim(1));
  copy(t, left);
  return out;
}

TEST_CASE("cross_entropy of extreme logits") {
  const auto inf = std::numeric_limits<float>::infinity();
  for_each_simd_target([&] {
    for_each_float([&](DType dtype) {
      const Tensor labels = here(tensor<std::int64_t>({0, 1, 1, 0, 2}, {5}));
      for (const Index classes : {3, 80}) {
        const Tensor logits = here(widened(tensor<float>(
                                               {
                                                   1e30f, 1e30f, 1e30f,  // constant and huge: log 3
                                                   3e38f, -3e38f, 0.f,   // a difference that overflows
                                                   -1e4f, 1e4f, -1e4f,   // certain and right: 0
                                                   -inf, 0.f, 0.f,       // the label's own logit is -inf
                                                   -inf, -inf, -inf,     // no class possible
                                               },
                                               {5, 3}),
                                           classes, -inf)
                                       .to(dtype));
        const kernels::CrossEntropy got = kernels::cross_entropy(logits, labels, true);
        CHECK(at(got.losses, 0) == doctest::Approx(std::log(3.0)));
        CHECK(at(got.losses, 1) >= 3e38);
        CHECK(at(got.losses, 2) == 0);
        CHECK(at(got.losses, 3) == kInfinity);
        CHECK(at(got.losses, 4) == kInfinity);
        const double third = 1.0 / 3;
        CHECK_CLOSE(got.dlogits,
                    widened(tensor<double>({third - 1, third, third, 1, -1, 0, 0, 0, 0, -1, 0.5, 0.5, 0, 0, 0}, {5, 3}),
                            classes, 0),
                    pointwise_tolerance(dtype));
      }
    });
  });
}

TEST_CASE("cross_entropy gives the same bits for any thread count") {
  for_each_float([&](DType dtype) {
    for (const Shape& shape : with_row_shapes({}, {3000, 37})) {
      const Tensor logits = normal(shape, dtype, 2), labels = labels_for(shape[0], shape[1]);
      CHECK(same_for_any_thread_count([&] {
        const kernels::CrossEntropy got = kernels::cross_entropy(logits, labels, true);
        return std::vector<Tensor>{got.losses, got.dlogits, kernels::cross_entropy_grad(got.losses, got.dlogits)};
      }));
    }
  });
}

TEST_CASE("cross_entropy names a label outside of its range") {
  const Tensor logits = normal({3, 4}, kFloat32, 1);
  const auto wait_for = [](const Tensor& of, std::vector<std::int64_t> labels) {
    const Index count = static_cast<Index>(labels.size());
    kernels::cross_entropy(of, here(tensor(labels, {count})), true);
    synchronize(device());  // where a kernel's complaint is heard
  };
  CHECK_THROWS_WITH_AS(wait_for(logits, {0, 4, 1}), "cross_entropy: label 4 of sample 1 is outside [0, 4)", Error);
  CHECK_THROWS_WITH_AS(wait_for(logits, {0, 3, -1}), "cross_entropy: label -1 of sample 2 is outside [0, 4)", Error);
  CHECK_THROWS_WITH_AS(wait_for(zeros({1, 0}, kFloat32, device()), {0}),
                       "cross_entropy: label 0 of sample 0 is outside [0, 0)", Error);
  CHECK_NOTHROW(wait_for(logits, {0, 3, 1}));
}

TEST_SUITE("cuda") {  // elsewhere the door throws
  TEST_CASE("what cross_entropy complains of is thrown once, by a readback too") {
    const Tensor labels = here(tensor<std::int64_t>({0, 4, 1}, {3}));
    const Readback losses(kernels::cross_entropy(normal({3, 4}, kFloat32, 1), labels, false).losses);
    CHECK_THROWS_WITH_AS(losses.value(), "cross_entropy: label 4 of sample 1 is outside [0, 4)", Error);
    CHECK_EQ(losses.value().size(), 3);
    CHECK_NOTHROW(synchronize(device()));
  }
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("cross_entropy names what is wrong") {
    const Tensor logits = zeros({3, 4}, kFloat32, kCpu);
    auto with_labels = [&](const Tensor& labels) { return kernels::cross_entropy(logits, labels, true); };
    CHECK_THROWS_WITH_AS(with_labels(zeros({2}, kInt64, kCpu)),
                         "cross_entropy: labels is [2] int64 cpu, expected shape [3]", ShapeError);
    CHECK_THROWS_WITH_AS(with_labels(zeros({3}, kInt32, kCpu)),
                         "cross_entropy: labels is [3] int32 cpu, expected int64", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::cross_entropy(zeros({3}, kFloat32, kCpu), zeros({3}, kInt64, kCpu), false),
                         "cross_entropy: logits is [3] float32 cpu, expected rank 2", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::cross_entropy_grad(zeros({2}, kFloat32, kCpu), logits),
                         "cross_entropy_grad: dlosses is [2] float32 cpu, expected shape [3]", ShapeError);
  }
}

}  // namespace
}  // namespace subquad::test
