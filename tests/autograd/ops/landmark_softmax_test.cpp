#include "subquad/autograd/ops/landmark_softmax.h"

#include <doctest/doctest.h>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("landmark_softmax gradients") {
  Tensor counts = zeros({2, 3}, kBool, kCpu), none = zeros({2}, kBool, kCpu);
  for (const Index i : {0, 1, 4}) counts.data<bool>()[i] = true;
  none.data<bool>()[1] = true;
  for (const Tensor& some : {Tensor(), here(counts)})
    for (const Tensor& samples : {Tensor(), here(none)})
      for (const LeftOutRows left_out : {LeftOutRows::identity, LeftOutRows::uniform})
        CHECK_GRADIENTS(
            [&](const auto& in) {
              return std::vector{landmark_softmax(in[0], some, samples, {.scale = 0.7, .left_out = left_out})};
            },
            {leaf({2, 2, 3, 3}, 1)});
}

TEST_CASE("landmark_weights gradients") {
  Tensor counts = zeros({2, 3}, kBool, kCpu);
  for (const Index i : {0, 1, 4, 5}) counts.data<bool>()[i] = true;
  for (const bool weights_used : {true, false})
    CHECK_GRADIENTS(
        [&](const auto& in) {
          const LandmarkWeights r = landmark_weights(in[0], in[1], here(counts), {}, {.scale = 0.7});
          std::vector<Variable> results = {mul_scalar(r.q, 2), mul_scalar(r.k, 3)};
          if (weights_used) results.push_back(r.y);
          return results;
        },
        {leaf({2, 2, 3, 4}, 1), leaf({2, 2, 3, 4}, 2)});
}

}  // namespace
}  // namespace subquad::test
