#include "subquad/kernels/top_k/top_k.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Draws of few different values, so that many are equal.
Tensor ties(const Shape& shape, DType dtype, std::uint64_t seed, Index levels) {
  Tensor out = empty(shape, kFloat64, kCpu);
  Rng rng(seed);
  for (double& x : out.span<double>()) x = static_cast<double>(rng.below(levels)) / 4 - 1;
  return here(out.to(dtype));
}

// Indices of a row, best first, by a stable sort of all.
std::vector<Index> order_of(const std::vector<double>& row) {
  std::vector<Index> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) { return row[i] > row[j]; });
  return order;
}

void check_top_k(const Tensor& x, Index k) {
  CAPTURE(x.shape());
  CAPTURE(k);
  const kernels::TopK got = kernels::top_k(x, k);
  const Shape shape = x.shape().with(x.rank() - 1, k);
  REQUIRE(got.values.shape() == shape);
  REQUIRE(got.indices.shape() == shape);
  const Tensor all = doubles(x), values = doubles(got.values), indices = got.indices.to(kCpu);
  const Index width = x.dim(-1);
  for (Index r = 0; k > 0 && r < values.size() / k; ++r) {
    const double* row = all.data<double>() + r * width;
    const std::vector<Index> want = order_of({row, row + width});
    for (Index s = 0; s < k; ++s) {
      CHECK(indices.data<Index>()[r * k + s] == want[s]);
      CHECK(values.data<double>()[r * k + s] == row[want[s]]);
    }
  }
}

std::vector<Index> reference_choice(std::vector<double> row, Index k, Index window) {
  const auto n = static_cast<Index>(row.size());
  std::vector<Index> out;
  std::vector<bool> taken(row.size());
  for (Index t = -window; window >= 0 && n > 0 && t <= window; ++t) {
    const Index i = ((t % n) + n) % n;
    if (!taken[i]) out.push_back(i);
    taken[i] = true;
  }
  for (const Index i : order_of(row))
    if (!taken[i] && static_cast<Index>(out.size()) < k) out.push_back(i);
  std::sort(out.begin(), out.end());
  out.resize(k, -1);
  return out;
}

TEST_CASE("top_k equals a stable sort") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Shape& shape : std::vector<Shape>{{1}, {7}, {3, 33}, {2, 3, 64}, {2, 1000}, {0, 4}, {3, 0}})
        for (const Index k : {0, 1, 2, 5, 31, 64, 500, 1000}) {
          if (k > shape.back()) continue;
          check_top_k(normal(shape, dtype, 1), k);
          check_top_k(ties(shape, dtype, 2, 5), k);
          check_top_k(full(shape, 0.5, dtype, device()), k);
        }
    });
  });
}

TEST_CASE("top_k of about as many as are ranked by comparing all pairs") {
  for_each_float([](DType dtype) {
    for (const Index width : {255, 256, 257, 600, 4000})
      for (const Index k : {1, 64, 100, 255, 256, 257}) {
        if (k > width) continue;
        CAPTURE(width);
        CAPTURE(k);
        check_top_k(normal({2, width}, dtype, 10), k);
        check_top_k(ties({2, width}, dtype, 11, 40), k);
      }
  });
}

TEST_CASE("top_k of rows about as long as what is read at once, and of several such groups") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Index width : {15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511, 512, 513, 1031, 2047, 2113, 5000})
        for (const Index k : {1, 8, 33, 64}) {
          if (k > width) continue;
          check_top_k(normal({3, width}, dtype, 12), k);
          check_top_k(ties({2, width}, dtype, 13, 12), k);
        }
    });
  });
}

// No NaN, but sums that are: both infinities, and numbers so large that their sums overflow; and hardly any numbers.
TEST_CASE("top_k of rows with many infinities or the largest numbers") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const double most = dtype == kFloat32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
      for (const double end : {kInfinity, most})
        for (const Index width : {70, 1000, 4100}) {
          Tensor mixed = normal({width}, kFloat64, 14).to(kCpu), masked = full({width}, -end, kFloat64, kCpu);
          for (Index i = 0; i < width; ++i) {
            double& x = mixed.data<double>()[i];
            if (i % 7 == 2) x = i % 2 == 0 ? end : -end;
            if (i % 13 == 3) masked.data<double>()[i] = static_cast<double>(i % 4);
          }
          for (const Index k : {1, 20, 64}) {
            check_top_k(here(mixed.to(dtype)), k);
            check_top_k(here(masked.to(dtype)), k);
          }
        }
    });
  });
}

TEST_CASE("top_k of rising and falling rows, infinities and signed zeros") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const Tensor rising = arange(3000, kInt64, kCpu).to(dtype);
      check_top_k(here(rising), 40);
      Tensor falling = empty_like(rising);
      for (Index i = 0; i < 3000; ++i) {
        Tensor element = falling.slice(0, i, i + 1);
        fill(element, -static_cast<double>(i));
      }
      check_top_k(here(falling), 40);
      check_top_k(
          here(tensor<double>({0.0, -0.0, 1, -kInfinity, -0.0, 0.0, kInfinity, -kInfinity, kInfinity}, {9}).to(dtype)),
          9);
      check_top_k(full({3, 100}, -kInfinity, dtype, device()), 10);
    });
  });
}

TEST_CASE("top_k of rows and results beyond what fits into shared memory") {
  for_each_float([](DType dtype) {
    const Index width = interpreted() ? 12'301 : 50'003;  // 48 KB of float32, and a little more
    check_top_k(ties({2, width}, dtype, 6, 4000), 33);
    check_top_k(normal({2, 2600}, dtype, 7), 2050);
  });
  const Tensor keys = ties({1, 2, 12'300}, kFloat32, 8, 4000), in = doubles(keys);
  const Tensor chosen = kernels::choose_top_k(keys, 40, 3).to(kCpu);
  for (Index row = 0; row < 2; ++row) {
    const double* from = in.data<double>() + row * 12'300;
    const auto want = reference_choice({from, from + 12'300}, 40, 3);
    for (Index s = 0; s < 40; ++s) CHECK(chosen.data<Index>()[row * 40 + s] == want[s]);
  }
}

TEST_CASE("top_k and choose_top_k of few rows that are cut into parts") {
  const auto check_width = [](DType dtype, Index width) {
    check_top_k(ties({2, width}, dtype, 6, 500), 33);
    check_top_k(normal({1, width}, dtype, 7), 1);
    check_top_k(full({1, width}, -kInfinity, dtype, device()), 20);
    const std::vector<Index> lengths = {width, 8192, 8000, 70, 4, 0};
    const auto batch = static_cast<Index>(lengths.size());
    const Mask mask = Mask::from_lengths(tensor<Index>(lengths, {batch}), width).to(device());
    const Tensor keys = ties({batch, 1, width}, dtype, 8, 300), other = normal({batch, 1, width}, dtype, 9);
    const auto got = kernels::choose_top_k_pair({keys, 70, 20}, {other, 9, -1}, mask);
    for (std::size_t c = 0; c < 2; ++c) {
      const Index k = c == 0 ? 70 : 9;
      const Tensor in = doubles(c == 0 ? keys : other), chosen = got[c].to(kCpu);
      for (Index b = 0; b < batch; ++b) {
        const double* from = in.data<double>() + b * width;
        const auto want = reference_choice({from, from + lengths[b]}, k, c == 0 ? 20 : -1);
        for (Index s = 0; s < k; ++s) CHECK(chosen.data<Index>()[b * k + s] == want[s]);
      }
    }
  };
  for_each_float([&](DType dtype) {
    for (const Index width : {24'476, 24'477}) check_width(dtype, width);
    check_top_k(ties({1, 131'072}, dtype, 6, 30'000), 1000);  // parts longer than 8192: their candidates are kept
  });
}

TEST_CASE("top_k_grad puts gradients where values came from") {
  for_each_float([](DType dtype) {
    for (const Index k : {0, 6, 50}) {
      const Tensor x = ties({2, 3, 50}, dtype, 4, 9);
      const kernels::TopK top = kernels::top_k(x, k);
      const Tensor up = normal({2, 3, k}, dtype, 5), dx = kernels::top_k_grad(up, top.indices, x.shape());
      const Tensor indices = top.indices.to(kCpu);
      Tensor want = zeros(x.shape(), kFloat64, kCpu);
      for (Index r = 0; r < 6; ++r)
        for (Index s = 0; s < k; ++s)
          want.data<double>()[r * 50 + indices.data<Index>()[r * k + s]] = at(up, r * k + s);
      CHECK(same_bits(doubles(dx), want));
    }
  });
}

TEST_CASE("choose_top_k equals a stable sort behind the window") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const std::vector<Index> lengths = {40, 39, 17, 5, 2, 1, 0};
      const Mask mask = Mask::from_lengths(tensor<Index>(lengths, {7}), 40).to(device());
      for (const auto& [k, window] : std::vector<std::pair<Index, Index>>{
               {0, -1}, {1, -1}, {1, 0}, {3, 1}, {8, -1}, {8, 2}, {17, 8}, {20, 8}, {40, 3}, {64, 8}, {64, -1}}) {
        CAPTURE(k);
        CAPTURE(window);
        for (const Tensor& keys : {ties({7, 2, 40}, dtype, 7, 6), normal({7, 2, 40}, dtype, 8)}) {
          const Tensor got = kernels::choose_top_k(keys, k, window, mask).to(kCpu), in = doubles(keys);
          REQUIRE(got.shape() == Shape{7, 2, k});
          for (Index row = 0; row < 14; ++row) {
            const double* from = in.data<double>() + row * 40;
            const auto want = reference_choice({from, from + lengths[row / 2]}, k, window);
            for (Index s = 0; s < k; ++s) CHECK(got.data<Index>()[row * k + s] == want[s]);
          }
        }
      }
    });
  });
}

TEST_CASE("choose_top_k_pair is choose_top_k twice") {
  for_each_float([](DType dtype) {
    for (const Index width : {0, 1, 40, 61}) {
      const Tensor keys = ties({3, 2, width}, dtype, 7, 6), other = normal({3, 2, width}, dtype, 8);
      const Mask mask = Mask::from_lengths(tensor<Index>({width, width / 2, 0}, {3}), width).to(device());
      const auto both = kernels::choose_top_k_pair({keys, 9, 3}, {other, 5, -1}, mask);
      CHECK(same_bits(both[0], kernels::choose_top_k(keys, 9, 3, mask)));
      CHECK(same_bits(both[1], kernels::choose_top_k(other, 5, -1, mask)));
    }
  });
  const Tensor keys = zeros({1, 1, 4}, kFloat32, kCpu), other = zeros({1, 1, 5}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::choose_top_k_pair({keys, 1, -1}, {other, 1, -1}),
                       doctest::Contains("choose_top_k_pair: the second keys is [1, 1, 5]"), ShapeError);
}

TEST_CASE("choose_top_k does not read keys behind the length") {
  Tensor keys = normal({1, 1, 20}, kFloat32, 1);
  const Mask mask = Mask::from_lengths(tensor<Index>({11}, {1}), 20).to(device());
  const Tensor before = kernels::choose_top_k(keys, 5, 1, mask);
  Tensor behind = keys.slice(2, 11, 20);
  fill(behind, std::numeric_limits<double>::quiet_NaN());
  CHECK(same_bits(kernels::choose_top_k(keys, 5, 1, mask), before));
}

TEST_CASE("top_k gives the same bits for any thread count") {
  const Tensor x = ties({8, 5, 700}, kFloat32, 3, 40);
  CHECK(same_for_any_thread_count([&] {
    const kernels::TopK top = kernels::top_k(x, 30);
    return std::vector<Tensor>{top.values, top.indices, kernels::choose_top_k(x, 30, 4)};
  }));
}

TEST_CASE("top_k names what is wrong") {
  const Tensor x = zeros({2, 5}, kFloat32, kCpu), keys = zeros({2, 3, 5}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::top_k(x, 6), "top_k: k is 6, expected 0 to 5, the last extent of x [2, 5]", Error);
  CHECK_THROWS_WITH_AS(kernels::top_k(zeros({2, 5}, kInt64, kCpu), 1),
                       "top_k: x is [2, 5] int64 cpu, expected float32 or float64", DTypeError);
  CHECK_THROWS_WITH_AS(kernels::top_k(zeros({}, kFloat32, kCpu), 0),
                       "top_k: x is [] float32 cpu, expected at least one dimension", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::choose_top_k(x, 2), "choose_top_k: keys is [2, 5] float32 cpu, expected rank 3",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      kernels::choose_top_k(keys, 4, 2),
      "choose_top_k: window is 2 and k is 4, expected k >= 2 window + 1, or window = -1 (nothing forced)", Error);
  CHECK_THROWS_AS(kernels::choose_top_k(keys, 5, Index{1} << 62), Error);
  CHECK_THROWS_AS(kernels::choose_top_k(keys, 0, 0), Error);
  CHECK_THROWS_WITH_AS(kernels::choose_top_k(keys, -1), "choose_top_k: k is -1, expected 0 or more", Error);
  CHECK_THROWS_WITH_AS(kernels::choose_top_k(keys, 1, -2),
                       "choose_top_k: window is -2, expected -1 (nothing forced) or more", Error);
}

TEST_CASE("top_k: a NaN is an error on the CPU, and larger than every number elsewhere") {
  for_each_float([](DType dtype) {
    for (const Index where : {0, 3, 40}) {
      Tensor bad = full({2, 41}, kInfinity, dtype, device());
      Tensor nan = bad.select(0, 1).slice(0, where, where + 1);
      fill(nan, std::numeric_limits<double>::quiet_NaN());
      const Tensor keys = bad.reshape({1, 2, 41});
      if (device().is_cpu()) {
        CHECK_THROWS_WITH_AS(kernels::top_k(bad, 3),
                             cat("top_k: element ", where, " of row 1 is NaN, expected numbers").c_str(),
                             kernels::NanError);
        CHECK_THROWS_AS(kernels::choose_top_k(keys, 3), Error);
      } else {
        const kernels::TopK top = kernels::top_k(bad, 3);
        CHECK(top.indices.to(kCpu).data<Index>()[3] == where);
        CHECK(std::isnan(at(top.values, 3)));
        CHECK(kernels::choose_top_k(keys, 1).to(kCpu).data<Index>()[1] == where);
      }
    }
  });
}

}  // namespace
}  // namespace subquad::test
