#include "subquad/kernels/adamw/adamw.h"

#include <cmath>
#include <limits>
#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {

using kernels::adamw;
using kernels::AdamWOptions;

namespace {

Tensor scalar(double value) {
  return here(tensor<double>({value}, {1}));
}
Tensor step_number(Index value) {
  return here(tensor<std::int64_t>({value}, {1}));
}

// One parameter in double, straight from the equations.
struct SlowAdamW {
  double m = 0;
  double v = 0;

  double step(double p, double grad, int t, double rate, double scale, const AdamWOptions& o) {
    double g = scale * grad;
    if (!o.decoupled) g += o.weight_decay * p;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double mean = m / (1 - std::pow(o.beta1, t));
    const double square = v / (1 - std::pow(o.beta2, t));
    if (o.decoupled) p *= 1 - rate * o.weight_decay;
    return p - rate * mean / (std::sqrt(square) + o.epsilon);
  }
};

struct State {
  Tensor param, m, v;

  State(const Shape& shape, DType dtype)
      : param(normal(shape, dtype, 1)), m(zeros(shape, dtype, device())), v(zeros(shape, dtype, device())) {}
};

}  // namespace

TEST_CASE("adamw equals the slow loop over several steps") {
  const std::vector<AdamWOptions> all = {
      {},
      {.weight_decay = 0.1},
      {.weight_decay = 0.1, .decoupled = false},
      {.beta1 = 0.5, .beta2 = 0.9, .epsilon = 1e-3, .weight_decay = 0.01},
      {.beta1 = 0, .beta2 = 0},
  };
  for_each_float([&](DType dtype) {
    for (const AdamWOptions& options : all) {
      for (const Index size : {0, 1, 7, 1009}) {
        for (const bool scaled : {false, true}) {
          State s({size}, dtype);
          std::vector<SlowAdamW> slow(static_cast<std::size_t>(size));
          Tensor expected = doubles(s.param).clone();
          for (int t = 1; t <= 5; ++t) {
            const Tensor grad = normal({size}, dtype, 10 + static_cast<std::uint64_t>(t));
            const double rate = 0.01 / t, scale = scaled ? 0.25 * t : 1;
            adamw(s.param, grad, s.m, s.v, step_number(t), scalar(rate), scaled ? scalar(scale) : Tensor(), options);
            const Tensor g = doubles(grad);
            double* p = expected.data<double>();
            for (Index i = 0; i < size; ++i)
              p[i] = slow[static_cast<std::size_t>(i)].step(p[i], at(g, i), t, rate, scale, options);
          }
          CHECK_CLOSE(s.param, expected, dot_tolerance(dtype, 5));
        }
      }
    }
  });
}

// On a GPU all threads of the grid take a second turn: float64 goes one element at a time, 2^18 at once.
TEST_CASE("adamw steps every parameter of a large arena once") {
  const Index size = 300'001;
  State s({size}, kFloat64);
  const Tensor grad = normal({size}, kFloat64, 2);
  Tensor expected = doubles(s.param).clone();
  const Tensor g = doubles(grad);
  for (Index i = 0; i < size; ++i) {
    double& p = expected.data<double>()[i];
    p = SlowAdamW().step(p, at(g, i), 1, 0.1, 1, {});
  }
  adamw(s.param, grad, s.m, s.v, step_number(1), scalar(0.1), Tensor(), {});
  CHECK_CLOSE(s.param, expected, dot_tolerance(kFloat64, 5));
}

TEST_CASE("adamw counts as a write to the parameter and both moments, and leaves zeros zero") {
  State s({3, 4}, kFloat32);
  fill(s.param, 0);
  const std::uint32_t param = s.param.version(), m = s.m.version(), v = s.v.version();
  const Tensor nothing = zeros({3, 4}, kFloat32, device());
  adamw(s.param, nothing, s.m, s.v, step_number(1), scalar(0.1), Tensor(), {.weight_decay = 0.1});
  CHECK(same_bits(s.param, nothing));
  CHECK_EQ(s.param.version(), param + 1);
  CHECK_EQ(s.m.version(), m + 1);
  CHECK_EQ(s.v.version(), v + 1);
}

TEST_CASE("adamw changes nothing where the gradient scale is a NaN, a first step included") {
  State s({301}, kFloat32);
  const Tensor before = s.param.clone(),
               grad = full({301}, std::numeric_limits<double>::infinity(), kFloat32, device());
  adamw(s.param, grad, s.m, s.v, step_number(0), scalar(0.1), scalar(std::nan("")), {});
  CHECK(same_bits(s.param, before));
  CHECK_CLOSE(s.m, zeros({301}, kFloat32, kCpu), 0);
  CHECK_CLOSE(s.v, zeros({301}, kFloat32, kCpu), 0);
}

TEST_CASE("adamw complains about a step before the first") {
  State s({6}, kFloat32);
  const Tensor before = s.param.clone(), grad = normal({6}, kFloat32, 2);
  const auto wait_for_step = [&](Index step) {
    adamw(s.param, grad, s.m, s.v, step_number(step), scalar(0.1), Tensor(), {});
    synchronize(device());  // where a kernel's complaint is heard
  };
  CHECK_THROWS_WITH_AS(wait_for_step(0), "adamw: step is 0, expected at least 1: the first step is 1", Error);
  CHECK(same_bits(s.param, before));
  CHECK_NOTHROW(wait_for_step(1));
}

TEST_CASE("adamw gives the same bits with any number of threads") {
  const Index size = interpreted() ? 3003 : 200'003;
  for_each_float([&](DType dtype) {
    for (const Index start : {0, 1}) {  // an arena, and memory that cannot be moved 16 bytes at a time
      const Tensor grad = normal({start + size}, dtype, 5).slice(0, start, start + size);
      CHECK(same_for_any_thread_count([&] {
        State s({start + size}, dtype);
        Tensor param = s.param.slice(0, start, start + size), m = s.m.slice(0, start, start + size),
               v = s.v.slice(0, start, start + size);
        for (int t = 1; t <= 2; ++t) adamw(param, grad, m, v, step_number(t), scalar(0.1), Tensor(), {});
        return std::vector<Tensor>{s.param, s.m, s.v};
      }));
    }
  });
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("adamw complains about its arguments") {
    State s({6}, kFloat32);
    const Tensor grad = zeros({6}, kFloat32, kCpu), one = step_number(1), rate = scalar(0.1);
    CHECK_THROWS_WITH_AS(adamw(s.param, zeros({5}, kFloat32, kCpu), s.m, s.v, one, rate, Tensor(), {}),
                         "adamw: grad is [5] float32 cpu, expected shape [6]", ShapeError);
    CHECK_THROWS_WITH_AS(adamw(s.param, zeros({6}, kFloat64, kCpu), s.m, s.v, one, rate, Tensor(), {}),
                         "adamw: grad is [6] float64 cpu, expected float32 like param", DTypeError);
    CHECK_THROWS_WITH_AS(adamw(s.param, grad, s.m, s.v, scalar(1), rate, Tensor(), {}),
                         "adamw: step is [1] float64 cpu, expected int64", DTypeError);
    CHECK_THROWS_WITH_AS(adamw(s.param, grad, s.m, s.v, one, zeros({2}, kFloat64, kCpu), Tensor(), {}),
                         "adamw: rate is [2] float64 cpu, expected shape [1]", ShapeError);
    CHECK_THROWS_WITH_AS(adamw(s.param, grad, s.m, s.v, one, rate, Tensor(), {.beta1 = 1}),
                         "adamw: beta1 is 1 and beta2 is 0.999, expected both in [0, 1)", Error);
    CHECK_THROWS_WITH_AS(adamw(s.param, grad, s.m, s.v, one, rate, Tensor(), {.epsilon = 0}),
                         "adamw: epsilon is 0, expected above 0", Error);
    CHECK_THROWS_WITH_AS(adamw(s.param, grad, s.m, s.v, one, rate, Tensor(), {.weight_decay = -1}),
                         "adamw: weight_decay is -1, expected at least 0", Error);
    Tensor strided = zeros({12}, kFloat32, kCpu).slice(0, 0, 12, 2);
    CHECK_THROWS_WITH_AS(adamw(strided, grad, s.m, s.v, one, rate, Tensor(), {}),
                         "adamw: param is [6] float32 cpu with strides [2], expected contiguous", ShapeError);
  }
}

}  // namespace subquad::test
