// Nystrom attention as a recorded graph: no copy from the CPU, no wait, few operations.
#include "subquad/autograd/backward.h"
#include "subquad/core/graph.h"
#include "subquad/tests/nn/attention/nystrom_cases.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::normal;
using test::prefix_mask;
using test::same_bits;
using test::nystrom::Inputs;
using test::nystrom::make_inputs;
using test::nystrom::run_back;
using test::nystrom::scattered_mask;

TEST_SUITE("cuda") {
  TEST_CASE("nystrom_attention and its gradient are recorded as one graph") {
    struct Case {
      Mask mask;
      NystromMask mode;
      std::size_t most;  // operations, forward and backward: as many as when this was written
    };
    const Shape shape = {2, 2, 40, 8};
    const std::vector<Case> cases = {{{}, NystromMask::isolated, 23},
                                     {prefix_mask({40, 9}, 40), NystromMask::isolated, 21},
                                     {scattered_mask(2, 40), NystromMask::isolated, 22},
                                     {prefix_mask({40, 9}, 40), NystromMask::official, 27},
                                     {prefix_mask({40, 9}, 40), NystromMask::lucidrains, 50},
                                     {{}, NystromMask::lucidrains, 34}};
    for (const auto& [mask, mode, most] : cases) {
      CAPTURE(nystrom_mask_name(mode));
      const NystromConfig config{.landmarks = 16, .conv_kernel = 5, .mask = mode};
      const Inputs in = make_inputs(shape, 5, mask, kFloat32);
      const Tensor upstream = normal(shape, kFloat32, 9);
      const std::vector<Tensor> want = run_back(in, config, upstream);
      const Inputs again = make_inputs(shape, 5, mask, kFloat32);
      for (Variable x : again.leaves()) x.zero_grad();
      Variable out;
      Graph forward = Graph::capture(test::device(), [&] { out = again.run(config); });
      Graph back = Graph::capture(test::device(), [&] { backward(out, upstream); });
      forward.replay();
      back.replay();
      CHECK(same_bits(out.value(), want[0]));
      for (std::size_t i = 0; i < 4; ++i) CHECK(same_bits(again.leaves()[i].grad(), want[i + 1]));
      CHECK_LE(forward.size() + back.size(), most);
    }
  }
}

}  // namespace
}  // namespace subquad::nn
