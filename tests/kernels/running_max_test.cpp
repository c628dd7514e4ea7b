#include "subquad/kernels/running_max/running_max.h"

#include "subquad/kernels/elementwise/elementwise.h"

#include <limits>

#include "subquad/tests/kernels/span_cases.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::GridAxis;
using kernels::RunningMaxOptions;

struct Expected {
  Tensor out, dx;
};

Expected slow_running_max(const Tensor& x, const Tensor& dout, RunningMaxOptions options, const Mask& mask) {
  const Tensor in = doubles(x), up = doubles(dout);
  const Index batch = x.dim(0), n = x.dim(1), width = x.dim(2), columns = options.columns, cells = dout.dim(1);
  Expected want{zeros(dout.shape(), kFloat64, kCpu), zeros_like(in)};
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < cells; ++i)
      for (Index c = 0; c < width; ++c) {
        const auto value = [&](Index j) { return in.data<double>()[(b * n + j) * width + c]; };
        Index best = -1;
        for (Index t = 0; t < n; ++t) {
          const Index j = options.after ? n - 1 - t : t;  // in the order of the run
          const bool line = options.along == GridAxis::row ? i / columns == j / columns : i % columns == j % columns;
          if (!line || (options.after ? j <= i : j >= i) || !is_real(mask, b, j, n)) continue;
          if (best < 0 || value(j) > value(best)) best = j;
        }
        if (best < 0) continue;
        want.out.data<double>()[(b * cells + i) * width + c] = value(best);
        want.dx.data<double>()[(b * n + best) * width + c] += up.data<double>()[(b * cells + i) * width + c];
      }
  return want;
}

std::vector<RunningMaxOptions> all_options(Index columns) {
  std::vector<RunningMaxOptions> all;
  for (const GridAxis along : {GridAxis::row, GridAxis::column})
    for (const bool after : {false, true}) all.push_back({.columns = columns, .along = along, .after = after});
  return all;
}

}  // namespace

TEST_CASE("running_max equals the slow loop on every grid, with every mask") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const auto& [n, columns, width] :
           std::vector<std::tuple<Index, Index, Index>>{{1, 1, 1}, {7, 7, 3}, {12, 4, 5}, {23, 5, 16}, {23, 1, 33}})
        for (const RunningMaxOptions& options : all_options(columns))
          for (const Mask& mask : span_masks(n)) {
            CAPTURE(n);
            CAPTURE(columns);
            // few values, so that many are equal
            Tensor rounded = normal({2, n, width}, dtype, 1).to(kCpu);
            visit_float("test", dtype, [&]<class T>(Type<T>) {
              for (T& value : rounded.span<T>()) value = std::round(value);
            });
            const Tensor x = here(rounded);
            const Mask real = mask.to(device());
            const Tensor out = kernels::running_max(x, options, real);
            const Tensor dout = normal(out.shape(), dtype, 2);
            const Expected want = slow_running_max(x, dout, options, mask);
            CHECK_CLOSE(out, want.out, 0);
            CHECK_CLOSE(kernels::running_max_grad(dout, x, out, options, real), want.dx, dot_tolerance(dtype, n));
          }
    });
  });
}

TEST_CASE("running_max: empty tensors, more columns than positions, strided rows") {
  CHECK(kernels::running_max(zeros({0, 5, 2}, kFloat32, device()), {.columns = 2}).shape() == Shape{0, 6, 2});
  CHECK(kernels::running_max(zeros({2, 0, 2}, kFloat32, device()), {.columns = 2}).size() == 0);
  const Tensor x = normal({2, 5, 6}, kFloat32, 1);
  CHECK(same_bits(kernels::running_max(x, {.columns = 1000}), kernels::running_max(x, {.columns = 5})));
  CHECK(same_bits(kernels::running_max(x.slice(2, 1, 4), {.columns = 3}),
                  kernels::running_max(x.slice(2, 1, 4).contiguous(), {.columns = 3})));
}

TEST_CASE("running_max: columns of a full grid in groups, the last of them smaller") {
  for_each_simd_target([] {
    const Index n = 3 * 11, width = 300;  // three columns of 300 run together
    for (const RunningMaxOptions& options : all_options(11)) {
      const Tensor x = normal({2, n, width}, kFloat32, 1), dout = normal({2, n, width}, kFloat32, 2);
      const Tensor out = kernels::running_max(x, options);
      const Expected want = slow_running_max(x, dout, options, {});
      CHECK_CLOSE(out, want.out, 0);
      CHECK_CLOSE(kernels::running_max_grad(dout, x, out, options), want.dx, dot_tolerance(kFloat32, n));
    }
  });
}

TEST_CASE("running_max reads no padded position, not even NaN") {
  const Index n = 23;
  for (const Mask& mask : span_masks(n)) {
    if (!mask.defined()) continue;
    const Tensor clean = normal({2, n, 7}, kFloat32, 1);
    Tensor dirty = clean.clone();
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < n; ++i) {
        Tensor row = dirty.select(0, b).select(0, i);
        if (!is_real(mask, b, i, n)) fill(row, std::numeric_limits<double>::quiet_NaN());
      }
    const Mask real = mask.to(device());
    for (const RunningMaxOptions& options : all_options(5)) {
      const Tensor out = kernels::running_max(clean, options, real);
      CHECK(same_bits(kernels::running_max(dirty, options, real), out));
      CHECK(same_bits(kernels::running_max_grad(out, dirty, out, options, real),
                      kernels::running_max_grad(out, clean, out, options, real)));
    }
  }
}

TEST_CASE("running_max_add_grad adds running_max_grad, whatever the strides of what it adds to") {
  const Index n = 23;
  for (const Mask& mask : span_masks(n))
    for (const RunningMaxOptions& options : all_options(5)) {
      const Tensor x = normal({2, n, 19}, kFloat32, 1), before = normal({2, n, 20}, kFloat32, 2);
      const Tensor out = kernels::running_max(x, options, mask.to(device()));
      const Tensor dout = normal(out.shape(), kFloat32, 3);
      Tensor sum = before.clone(), dx = sum.slice(2, 0, 19);
      kernels::running_max_add_grad(dout, x, out, options, dx, mask.to(device()));
      const Tensor want = kernels::running_max_grad(dout, x, out, options, mask.to(device()));
      CHECK(same_bits(dx, kernels::add(before.slice(2, 0, 19), want)));
      CHECK(same_bits(sum.slice(2, 19, 20), before.slice(2, 19, 20)));
    }
}

TEST_CASE("running_max gives the same bits for any number of threads") {
  const Tensor x = normal({1, interpreted() ? 500 : 5000, 24}, kFloat32, 1);
  for (const RunningMaxOptions& options : all_options(70))
    CHECK(same_for_any_thread_count([&]() -> std::vector<Tensor> {
      const Tensor out = kernels::running_max(x, options);
      return {out, kernels::running_max_grad(out, x, out, options)};
    }));
}

TEST_CASE("running_max names the argument that does not fit") {
  const Device d = device();
  const Tensor x = zeros({2, 6, 3}, kFloat32, d);
  CHECK_THROWS_WITH_AS(kernels::running_max(x, {.columns = 0}), "running_max: columns is 0, expected at least 1",
                       Error);
  CHECK_THROWS_AS(kernels::running_max(zeros({6, 3}, kFloat32, d), {}), ShapeError);
  CHECK_THROWS_AS(kernels::running_max(x, {}, Mask::from_lengths(tensor<Index>({5, 5}, {2}), 5).to(d)), ShapeError);
  CHECK_THROWS_WITH_AS(
      kernels::running_max_grad(x, x, x, {.columns = 4}),
      cat("running_max_grad: dout is [2, 6, 3] float32 ", d.is_cpu() ? "cpu" : "cuda:0", ", expected shape [2, 8, 3]")
          .c_str(),
      ShapeError);
}

}  // namespace subquad::test
