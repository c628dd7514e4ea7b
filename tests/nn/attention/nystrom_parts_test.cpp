// What Nystrom attention decides: whom a landmark stands for, and how far its inverse comes.
#include <cmath>

#include "subquad/autograd/ops/matmul.h"
#include "subquad/tests/nn/attention/nystrom_cases.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::nystrom::scattered_mask;

// A of one sample and head by its definition, from landmarks q~ = means q and k~ = means k. `left_out`: landmarks that
// average nothing are no part of it.
Tensor landmark_softmax(const Tensor& means, const Tensor& q, const Tensor& k, bool left_out) {  // [m, N], [N, E]
  const Index m = means.dim(0), width = q.dim(1);
  const auto landmark = [&](const Tensor& x, Index j, Index e) {
    double sum = 0;
    for (Index i = 0; i < means.dim(1); ++i) sum += test::at(means, {j, i}) * test::at(x, {i, e});
    return sum;
  };
  const auto empty_one = [&](Index j) {
    for (Index i = 0; i < means.dim(1); ++i)
      if (test::at(means, {j, i}) != 0) return false;
    return left_out;
  };
  Tensor a = zeros({m, m}, kFloat64, kCpu);
  const auto cell = a.view<double, 2>();
  for (Index j = 0; j < m; ++j) {
    if (empty_one(j)) {
      cell(j, j) = 1;
      continue;
    }
    double sum = 0;
    for (Index l = 0; l < m; ++l) {
      if (empty_one(l)) continue;
      double logit = 0;
      for (Index e = 0; e < width; ++e) logit += landmark(q, j, e) * landmark(k, l, e);
      sum += cell(j, l) = std::exp(logit / std::sqrt(static_cast<double>(width)));
    }
    for (Index l = 0; l < m; ++l) cell(j, l) /= sum;
  }
  return a;
}

TEST_CASE("nystrom_factors: the means are those that A is made of") {
  for (const NystromMask mode :
       {NystromMask::isolated, NystromMask::official, NystromMask::huggingface, NystromMask::lucidrains})
    for (const Mask& mask : {Mask(), test::prefix_mask({11, 3}, 11), scattered_mask(2, 11).to(test::device())})
      for (const Index landmarks : {4, 5}) {
        if (test::interpreted() && landmarks == 4) continue;
        CAPTURE(nystrom_mask_name(mode));
        CAPTURE(landmarks);
        const NystromConfig config{.landmarks = landmarks, .conv_kernel = 0, .mask = mode};
        const auto in = test::nystrom::make_inputs({2, 2, 11, 3}, 0, mask, kFloat64);
        const NystromFactors factors = nystrom_factors(in.q, in.k, mask, config);
        REQUIRE(factors.means.shape() == Shape{2, landmarks, 11});
        for (Index b = 0; b < 2; ++b)
          for (Index h = 0; h < 2; ++h) {
            const auto of = [&](const Tensor& x) { return test::doubles(x.select(0, b).select(0, h).contiguous()); };
            const Tensor means = test::doubles(factors.means.select(0, b).contiguous());
            // Without a mask lucidrains' rows of zeros are tokens like others: a landmark of theirs is not empty.
            const bool left_out = mode == NystromMask::isolated || (mode == NystromMask::lucidrains && mask.defined());
            const Tensor got = of(factors.a);
            Tensor want = landmark_softmax(means, of(in.q.value()), of(in.k.value()), left_out);
            for (Index j = 0; j < landmarks && mode == NystromMask::lucidrains; ++j) {
              if (test::at(want, {j, j}) != 1) continue;  // rows of empty landmarks are uniform there
              Tensor row = want.slice(0, j, j + 1);
              fill(row, 1 / static_cast<double>(landmarks));
            }
            CHECK_CLOSE(got, want, test::dot_tolerance(kFloat64, 30));
          }
      }
}

TEST_CASE("nystrom_factors: landmarks of a padded sample share out its real tokens, in order and evenly") {
  const Mask mask = scattered_mask(2, 14).to(test::device());
  const auto in = test::nystrom::make_inputs({2, 1, 14, 3}, 0, mask, kFloat64);
  const Tensor means = test::doubles(nystrom_factors(in.q, in.k, mask, {.landmarks = 4}).means);
  for (Index b = 0; b < 2; ++b) {
    Index next = 0, real = 0;
    for (Index i = 0; i < 14; ++i) real += test::slow::is_real(mask, b, i);
    for (Index j = 0; j < 4; ++j) {
      const Index members = real / 4 + (j >= 4 - real % 4 ? 1 : 0);
      for (Index taken = 0; taken < members; ++next) {
        const bool there = test::slow::is_real(mask, b, next);
        CHECK(test::at(means, {b, j, next}) == doctest::Approx(there ? 1.0 / static_cast<double>(members) : 0));
        taken += there;
      }
      double sum = 0;
      for (Index i = 0; i < 14; ++i) sum += test::at(means, {b, j, i});
      CHECK(sum == doctest::Approx(1));
    }
  }
}

TEST_CASE("NystromAttention: F Z S and the convolution are the mixing matrix") {
  const Index n = 12, taps = 3;
  for (const Mask& mask : {Mask(), test::prefix_mask({n, 7}, n)}) {
    const NystromAttention module(
        test::place(kFloat64),
        {.kind = "nystrom", .width = 6, .heads = 2, .nystrom = {.landmarks = 4, .conv_kernel = taps}});
    test::randomise(module);
    const Variable x(test::normal({2, n, 6}, kFloat64, 1));
    const AttentionInput in{x, x, mask, {}};
    const NystromFactors factors = module.factors(in);
    Tensor want = test::doubles(
        matmul(matmul(Variable(factors.f), Variable(factors.z)), Variable(factors.s)).value());  // [B, H, N, N]
    const auto cell = want.view<double, 4>();
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 2; ++h)
        for (Index i = 0; i < n; ++i)
          for (Index t = 0; t < taps; ++t) {
            const Index j = i + t - taps / 2;
            if (j >= 0 && j < n && test::slow::is_real(mask, b, i) && test::slow::is_real(mask, b, j))
              cell(b, h, i, j) += test::at(module.taps().value(), {h, t});
          }
    CHECK_CLOSE(module.mixing_matrix(in), want, test::dot_tolerance(kFloat64, 100));
    CHECK(module.config().landmarks == 4);
  }
}

// |A Z_t - I| for t = 0 ... T by the iteration of kernels/pinv, one matrix, in loops.
using Dense = std::vector<std::vector<double>>;

Dense product(const Dense& a, const Dense& b) {
  Dense out(a.size(), std::vector<double>(a.size()));
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < a.size(); ++k)
      for (std::size_t j = 0; j < a.size(); ++j) out[i][j] += a[i][k] * b[k][j];
  return out;
}

Dense less(double number, const Dense& x) {  // number I - x
  Dense out = x;
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j < x.size(); ++j) out[i][j] = (i == j ? number : 0) - x[i][j];
  return out;
}

TEST_CASE("pinv_residuals are those of the iteration, step by step") {
  const NystromConfig config{.landmarks = 5, .pinv_iterations = 6};
  const auto in = test::nystrom::make_inputs({2, 2, 23, 3}, 0, {}, kFloat64);
  const NystromFactors factors = nystrom_factors(in.q, in.k, {}, config);
  const PinvResiduals got = pinv_residuals(factors.a, config);
  REQUIRE(got.frobenius.shape() == Shape{7, 2, 2});
  REQUIRE(got.largest.shape() == Shape{7, 2, 2});
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 2; ++h) {
      Dense a(5, std::vector<double>(5)), z = a;
      double most = 0;
      for (std::size_t j = 0; j < 5; ++j) {
        double column = 0;
        for (std::size_t i = 0; i < 5; ++i)
          column += a[i][j] = test::at(factors.a, {b, h, static_cast<Index>(i), static_cast<Index>(j)});
        most = std::max(most, column);
      }
      for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t j = 0; j < 5; ++j) z[i][j] = a[j][i] / most;
      for (Index t = 0; t <= 6; ++t) {
        const Dense x = product(a, z);
        double squares = 0, largest = 0;
        for (const std::vector<double>& row : less(1, x))
          for (const double r : row) squares += r * r, largest = std::max(largest, std::abs(r));
        CHECK(test::at(got.frobenius, {t, b, h}) == doctest::Approx(std::sqrt(squares)).epsilon(1e-8));
        CHECK(test::at(got.largest, {t, b, h}) == doctest::Approx(largest).epsilon(1e-8));
        z = product(z, less(13, product(x, less(15, product(x, less(7, x))))));
        for (std::vector<double>& row : z)
          for (double& value : row) value /= 4;
      }
    }
  CHECK_THROWS_AS(pinv_residuals(zeros({2, 3, 4, 5}, kFloat64, test::device()), config), ShapeError);
}

}  // namespace
}  // namespace subquad::nn
