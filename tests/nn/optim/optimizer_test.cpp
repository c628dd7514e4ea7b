#include "subquad/nn/optim/optimizer.h"

#include <cmath>

#include "subquad/nn/feed_forward.h"
#include "subquad/nn/optim/adamw.h"
#include "subquad/nn/optim/clip.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

constexpr FeedForwardConfig kModel = {.width = 3, .hidden = 5};

// One tensor at a time, one element at a time, in double.
struct SlowOptimizer {
  OptimizerConfig config;
  std::vector<std::vector<double>> values, m, v;
  int step = 0;

  SlowOptimizer(const OptimizerConfig& c, const Module& model) : config(c) {
    for (const Variable& p : model.parameters()) {
      values.emplace_back();
      const Tensor start = test::doubles(p.value());
      for (Index i = 0; i < start.size(); ++i) values.back().push_back(test::at(start, i));
      m.emplace_back(values.back().size(), 0.0);
      v.emplace_back(values.back().size(), 0.0);
    }
  }

  void update(const Module& model, double rate, double scale) {
    ++step;
    const std::vector<Variable> parameters = model.parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const Tensor grad = test::doubles(parameters[p].grad());
      for (std::size_t i = 0; i < values[p].size(); ++i) {
        const double g = scale * test::at(grad, static_cast<Index>(i));
        if (config.kind == "sgd")
          sgd(values[p][i], m[p][i], g, rate);
        else
          adam(values[p][i], m[p][i], v[p][i], g, rate);
      }
    }
  }

  void adam(double& value, double& m1, double& m2, double g, double rate) const {
    const double decay = config.weight_decay;
    if (config.kind == "adam") g += decay * value;
    m1 = config.beta1 * m1 + (1 - config.beta1) * g;
    m2 = config.beta2 * m2 + (1 - config.beta2) * g * g;
    if (config.kind == "adamw") value -= rate * decay * value;
    const double mean = m1 / (1 - std::pow(config.beta1, step)), square = m2 / (1 - std::pow(config.beta2, step));
    value -= rate * mean / (std::sqrt(square) + config.epsilon);
  }

  void sgd(double& value, double& velocity, double g, double rate) const {
    g += config.weight_decay * value;
    velocity = config.momentum * velocity + g;
    value -= rate * (config.nesterov ? g + config.momentum * velocity : velocity);
  }
};

// The same made-up gradients for every run: a function of step and element.
void set_gradients(ParameterArena& arena, const Module& model, std::uint64_t step) {
  arena.zero_grad();
  for (const Variable& p : model.parameters()) {
    Tensor grad = p.grad(), draws = empty(grad.shape(), grad.dtype(), kCpu);
    fill_normal(draws, 0, 1, step, stream_id(p.name()));
    copy(draws, grad);
  }
}

std::vector<OptimizerConfig> configs() {
  return {{.kind = "adamw", .weight_decay = 0.1},
          {.kind = "adam", .beta2 = 0.98, .epsilon = 1e-9, .weight_decay = 0.1},
          {.kind = "sgd", .weight_decay = 0.1},
          {.kind = "sgd", .momentum = 0.9, .nesterov = true}};
}

TEST_CASE("optimisers over arenas equal the loop over tensors") {
  test::for_each_float([](DType dtype) {
    for (const OptimizerConfig& config : configs()) {
      CAPTURE(config.kind);
      FeedForward model(test::place(dtype, 4), kModel);
      ParameterArena arena(model);
      SlowOptimizer slow(config, model);
      const auto optimizer = make_optimizer(arena, config);
      for (std::uint64_t step = 1; step <= 5; ++step) {
        set_gradients(arena, model, step);
        const double rate = 0.01 * static_cast<double>(step), scale = step % 2 == 0 ? 0.5 : 1;
        optimizer->set_rate(rate);
        optimizer->step(scale == 1 ? Tensor() : full({1}, scale, kFloat64, test::device()));
        slow.update(model, rate, scale);
      }
      CHECK(optimizer->steps() == 5);
      const std::vector<Variable> parameters = model.parameters();
      for (std::size_t p = 0; p < parameters.size(); ++p)
        CHECK_CLOSE(parameters[p].value(), tensor(slow.values[p], parameters[p].shape()),
                    5 * test::pointwise_tolerance(dtype));
    }
  });
}

TEST_CASE("an optimiser's state survives saving and loading, bit for bit") {
  for (const OptimizerConfig& config : configs()) {
    FeedForward straight(test::place(kFloat32), kModel), resumed(test::place(kFloat32), kModel);
    ParameterArena straight_arena(straight), resumed_arena(resumed);
    const auto whole = make_optimizer(straight_arena, config);
    const auto run = [](Optimizer& optimizer, ParameterArena& arena, Module& model, std::uint64_t from) {
      for (std::uint64_t step = from; step < from + 3; ++step) {
        set_gradients(arena, model, step);
        optimizer.set_rate(0.01);
        optimizer.step();
      }
    };
    run(*whole, straight_arena, straight, 1);
    StateDict saved;
    for (const auto& [name, value] : whole->state_dict()) saved.emplace(name, value.clone());
    resumed.load_state_dict(straight.state_dict());
    const auto second = make_optimizer(resumed_arena, config);
    second->load_state_dict(saved);
    CHECK(second->steps() == 3);
    run(*whole, straight_arena, straight, 4);
    run(*second, resumed_arena, resumed, 4);
    CHECK(test::same_bits(straight_arena.values(), resumed_arena.values()));
  }
}

TEST_CASE("optimiser state names its tensors and complains exactly") {
  FeedForward model(test::place(kFloat32), kModel);
  ParameterArena arena(model);
  const auto adamw = make_optimizer(arena, {}), sgd = make_optimizer(arena, {.kind = "sgd"});
  std::vector<std::string> names;
  for (const auto& [name, value] : adamw->state_dict()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"m.first.bias", "m.first.weight", "m.second.bias", "m.second.weight", "step",
                                          "v.first.bias", "v.first.weight", "v.second.bias", "v.second.weight"});
  CHECK_THROWS_WITH_AS(adamw->load_state_dict(sgd->state_dict()),
                       "optimizer state: 8 missing (m.first.bias, m.first.weight, m.second.bias, m.second.weight, "
                       "v.first.bias and 3 more)",
                       Error);
  CHECK_THROWS_WITH_AS(make_optimizer(arena, {.kind = "lion"}),
                       "make_optimizer: kind: 'lion', expected one of adamw, adam, sgd", Error);
  CHECK(optimizer_kinds() == std::vector<std::string>{"adamw", "adam", "sgd"});
}

TEST_CASE("AdamW follows a beta1 that moves") {
  FeedForward model(test::place(kFloat64), kModel);
  ParameterArena arena(model);
  OptimizerConfig config;
  SlowOptimizer slow(config, model);
  AdamW optimizer(arena, {});
  optimizer.set_rate(0.1);
  for (const double beta1 : {0.95, 0.9, 0.85}) {
    set_gradients(arena, model, 1);
    optimizer.set_beta1(beta1);
    optimizer.step();
    slow.config.beta1 = beta1;
    slow.update(model, 0.1, 1);
  }
  CHECK_CLOSE(model.parameters()[0].value(), tensor(slow.values[0], model.parameters()[0].shape()), 1e-13);
}

TEST_CASE("set_beta1 refuses what is no such fraction") {
  FeedForward model(test::place(kFloat32), kModel);
  ParameterArena arena(model);
  AdamW optimizer(arena, {});
  optimizer.set_beta1(0);
  CHECK_THROWS_WITH_AS(optimizer.set_beta1(1), "set_beta1: beta1 is 1, expected in [0, 1)", Error);
  for (const double beta1 : {-0.1, std::nan("")}) CHECK_THROWS_AS(optimizer.set_beta1(beta1), Error);
}

TEST_CASE("set_rate refuses what is no rate") {
  FeedForward model(test::place(kFloat32), kModel);
  ParameterArena arena(model);
  const auto optimizer = make_optimizer(arena, {});
  optimizer->set_rate(0);
  CHECK_THROWS_WITH_AS(optimizer->set_rate(-0.5), "set_rate: rate is -0.5, expected a finite number of at least 0",
                       Error);
  for (const double rate : {std::nan(""), HUGE_VAL}) CHECK_THROWS_AS(optimizer->set_rate(rate), Error);
}

TEST_CASE("clip_global_norm scales what is longer than the limit") {
  FeedForward model(test::place(kFloat64), kModel);
  ParameterArena arena(model);
  CHECK(clip_global_norm(arena, 1).norm.item<double>() == 0);
  CHECK(clip_global_norm(arena, 1).scale.item<double>() == 1);
  set_gradients(arena, model, 1);
  double squares = 0;
  for (const Variable& p : model.parameters())
    for (Index i = 0; i < p.value().size(); ++i) squares += std::pow(test::at(p.grad(), i), 2);
  const double norm = std::sqrt(squares);
  const ClippedNorm clipped = clip_global_norm(arena, 0.5);
  CHECK(std::fabs(clipped.norm.item<double>() - norm) < 1e-12 * norm);
  CHECK(std::fabs(clipped.scale.item<double>() - 0.5 / (norm + 1e-6)) < 1e-12);
  CHECK(clip_global_norm(arena, 2 * norm).scale.item<double>() == 1);
}

}  // namespace
}  // namespace subquad::nn
