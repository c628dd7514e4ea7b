#include "subquad/kernels/sgd/sgd.h"

#include <cmath>
#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {

using kernels::sgd;
using kernels::SgdOptions;

namespace {

Tensor scalar(double value) {
  return here(tensor<double>({value}, {1}));
}

// One parameter in double, straight from the equations.
struct SlowSgd {
  double velocity = 0;

  double step(double p, double grad, double rate, double scale, const SgdOptions& o) {
    const double g = scale * grad + o.weight_decay * p;
    velocity = o.momentum * velocity + g;
    return p - rate * (o.nesterov ? g + o.momentum * velocity : velocity);
  }
};

}  // namespace

TEST_CASE("sgd equals the slow loop over several steps") {
  const std::vector<SgdOptions> all = {{},
                                       {.weight_decay = 0.1},
                                       {.momentum = 0.9},
                                       {.momentum = 0.9, .weight_decay = 0.1},
                                       {.momentum = 0.9, .weight_decay = 0.1, .nesterov = true}};
  for_each_float([&](DType dtype) {
    for (const SgdOptions& options : all) {
      for (const Index size : {0, 1, 7, 1009}) {
        for (const bool scaled : {false, true}) {
          Tensor param = normal({size}, dtype, 1);
          Tensor velocity = options.momentum != 0 ? zeros({size}, dtype, device()) : Tensor();
          std::vector<SlowSgd> slow(static_cast<std::size_t>(size));
          Tensor expected = doubles(param).clone();
          for (int t = 1; t <= 5; ++t) {
            const Tensor grad = normal({size}, dtype, 10 + static_cast<std::uint64_t>(t));
            const double rate = 0.1 / t, scale = scaled ? 0.25 * t : 1;
            sgd(param, grad, velocity, scalar(rate), scaled ? scalar(scale) : Tensor(), options);
            const Tensor g = doubles(grad);
            double* p = expected.data<double>();
            for (Index i = 0; i < size; ++i)
              p[i] = slow[static_cast<std::size_t>(i)].step(p[i], at(g, i), rate, scale, options);
          }
          CHECK_CLOSE(param, expected, dot_tolerance(dtype, 5));
        }
      }
    }
  });
}

// On a GPU all threads of the grid take a second turn: float64 goes one element at a time, 2^18 at once.
TEST_CASE("sgd steps every parameter of a large arena once") {
  const Index size = 300'001;
  Tensor param = normal({size}, kFloat64, 1), none;
  const Tensor grad = normal({size}, kFloat64, 2);
  Tensor expected = doubles(param).clone();
  const Tensor g = doubles(grad);
  for (Index i = 0; i < size; ++i) {
    double& p = expected.data<double>()[i];
    p = SlowSgd().step(p, at(g, i), 0.1, 1, {});
  }
  sgd(param, grad, none, scalar(0.1), Tensor(), {});
  CHECK_CLOSE(param, expected, dot_tolerance(kFloat64, 5));
}

TEST_CASE("sgd changes nothing where the gradient scale is a NaN") {
  Tensor param = normal({301}, kFloat32, 1), velocity = normal({301}, kFloat32, 2);
  const Tensor before = param.clone(), velocity_before = velocity.clone();
  sgd(param, normal({301}, kFloat32, 3), velocity, scalar(0.1), scalar(std::nan("")), {.momentum = 0.9});
  CHECK(same_bits(param, before));
  CHECK(same_bits(velocity, velocity_before));
}

TEST_CASE("sgd gives the same bits with any number of threads") {
  const Index size = interpreted() ? 3003 : 300'007;
  for_each_float([&](DType dtype) {
    for (const Index start : {0, 1}) {  // an arena, and memory that cannot be moved 16 bytes at a time
      const Tensor grad = normal({start + size}, dtype, 5).slice(0, start, start + size);
      CHECK(same_for_any_thread_count([&] {
        const Tensor all = normal({start + size}, dtype, 1), all_velocity = zeros({start + size}, dtype, device());
        Tensor param = all.slice(0, start, start + size), velocity = all_velocity.slice(0, start, start + size);
        const std::uint32_t version = param.version(), velocity_version = velocity.version();
        for (int t = 0; t < 2; ++t) sgd(param, grad, velocity, scalar(0.1), Tensor(), {.momentum = 0.9});
        CHECK_EQ(param.version(), version + 2);
        CHECK_EQ(velocity.version(), velocity_version + 2);
        return std::vector<Tensor>{all, all_velocity};
      }));
    }
  });
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("sgd complains about its arguments") {
    Tensor param = zeros({6}, kFloat32, kCpu), velocity = zeros({6}, kFloat32, kCpu), none;
    const Tensor grad = zeros({6}, kFloat32, kCpu), rate = scalar(0.1);
    CHECK_THROWS_WITH_AS(sgd(param, zeros({2, 3}, kFloat32, kCpu), velocity, rate, Tensor(), {}),
                         "sgd: grad is [2, 3] float32 cpu, expected shape [6]", ShapeError);
    CHECK_THROWS_WITH_AS(sgd(param, grad, none, rate, Tensor(), {.momentum = 0.9}), "sgd: velocity is undefined",
                         Error);
    CHECK_THROWS_WITH_AS(sgd(param, grad, velocity, zeros({1}, kFloat32, kCpu), Tensor(), {}),
                         "sgd: rate is [1] float32 cpu, expected float64", DTypeError);
    CHECK_THROWS_WITH_AS(sgd(param, grad, velocity, rate, zeros({2}, kFloat64, kCpu), {}),
                         "sgd: grad_scale is [2] float64 cpu, expected shape [1]", ShapeError);
    CHECK_THROWS_WITH_AS(sgd(param, grad, velocity, rate, Tensor(), {.momentum = 1}),
                         "sgd: momentum is 1, expected in [0, 1)", Error);
    CHECK_THROWS_WITH_AS(sgd(param, grad, velocity, rate, Tensor(), {.weight_decay = -1}),
                         "sgd: weight_decay is -1, expected at least 0", Error);
    CHECK_THROWS_WITH_AS(sgd(param, grad, velocity, rate, Tensor(), {.nesterov = true}),
                         "sgd: nesterov without momentum, expected momentum above 0", Error);
  }
}

}  // namespace subquad::test
