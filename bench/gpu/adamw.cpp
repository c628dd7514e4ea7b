// One optimiser step over an arena of parameters.
#include <algorithm>
#include <memory>

#include "subquad/bench/gpu/case.h"
#include "subquad/kernels/adamw/adamw.h"

namespace subquad::bench::gpu {

namespace {

struct Set {
  Tensor param, grad, m, v, step, rate;

  Set(Device device, Index count, std::uint64_t seed)
      : param(normal({count}, device, seed, 1)),
        grad(normal({count}, device, seed, 2)),
        m(zeros({count}, kFloat32, device)),
        v(zeros({count}, kFloat32, device)),
        step(full({1}, 1, kInt64, device)),
        rate(full({1}, 1e-3, kFloat64, device)) {}

  void update() { kernels::adamw(param, grad, m, v, step, rate, {}, {.weight_decay = 0.01}); }

  // The same set's first elements in float64 on the CPU.
  Set first(Index count) const {
    Set some = *this;
    for (Tensor* t : {&some.param, &some.grad, &some.m, &some.v}) *t = doubles(t->slice(0, 0, count)).clone();
    some.step = step.to(kCpu);
    some.rate = rate.to(kCpu);
    return some;
  }
};

Case adamw_case(Device device, Index count) {
  const auto prepare = [=](std::uint64_t seed) {
    const auto set = std::make_shared<Set>(device, count, seed);
    // The first update starts from these; the check follows it, and those that are timed go on from there.
    const auto want = std::make_shared<Set>(set->first(std::min<Index>(count, 1000)));
    want->update();
    return Prepared{[=] { set->update(); },
                    [=] { return error_of(set->param.slice(0, 0, want->param.size()), want->param); },
                    [=] {
                      return std::map<std::string, Tensor>{
                          {"param", set->param}, {"grad", set->grad}, {"m", set->m}, {"v", set->v}};
                    }};
  };
  return {.op = "adamw",
          .shape = {{"parameters", count}},
          .bytes = 28 * static_cast<double>(count),
          .tolerance = tolerance_of(Precision::fp32, 1),
          .prepare = prepare};
}

}  // namespace

std::vector<Case> adamw_cases(Device device, bool tiny) {
  if (tiny) return {adamw_case(device, 3001)};
  return {adamw_case(device, 200'000), adamw_case(device, 10'000'000), adamw_case(device, 40'000'000)};
}

}  // namespace subquad::bench::gpu
