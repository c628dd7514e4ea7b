// Kernels that read and write each row once: memory is their roof. 65536 x 64 is a batch of 32 samples of 2048 tokens.
#include <algorithm>
#include <memory>

#include "subquad/bench/gpu/case.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"
#include "subquad/kernels/cross_entropy/cross_entropy.h"
#include "subquad/kernels/layer_norm/layer_norm.h"
#include "subquad/kernels/softmax/softmax.h"

namespace subquad::bench::gpu {

namespace {

constexpr double kEps = 1e-5, kProbability = 0.1;

struct Size {
  Index rows, width;
};

using Tensors = std::map<std::string, Tensor>;

// An op as functions of its inputs by name: the same code makes the results on the device, and on the CPU in float64
// those of the first and last few rows.
struct RowOp {
  std::string name;
  Tensors (*inputs)(const Size& size, Device device, std::uint64_t seed);
  Tensors (*results)(const Tensors& in);  // every result has a row per row of the inputs
  double passes;                          // how many times the bytes of one [rows, width] are moved
};

bool has_rows(const std::string& name) {
  return name != "gamma" && name != "beta" && name != "bias" && name != "step";
}

// A few rows of every tensor, on the CPU, floats as float64.
Tensors some_rows(const Tensors& all, Index from, Index count) {
  Tensors some;
  for (const auto& [name, value] : all) {
    const Tensor rows = has_rows(name) ? value.slice(0, from, from + count) : value;
    some[name] = rows.dtype() == kFloat32 ? doubles(rows) : rows.to(kCpu).contiguous();
  }
  return some;
}

double worst_error(const RowOp& op, const Tensors& in, const Tensors& got) {
  const Index rows = got.begin()->second.dim(0), few = std::min<Index>(rows, 5);
  double worst = 0;
  for (const Index from : {Index{0}, rows - few}) {
    const Tensors want = op.results(some_rows(in, from, few)), part = some_rows(got, from, few);
    for (const auto& [name, value] : want) worst = std::max(worst, error_of(part.at(name), value));
  }
  return worst;
}

Tensors x_alone(const Size& size, Device device, std::uint64_t seed) {
  return {{"x", normal({size.rows, size.width}, device, seed, 1)}};
}

Tensors for_cross_entropy(const Size& size, Device device, std::uint64_t seed) {
  Tensor labels = empty({size.rows}, kInt64, kCpu);
  Rng rng(seed);
  for (std::int64_t& label : labels.span<std::int64_t>()) label = rng.below(size.width);
  return {{"x", normal({size.rows, size.width}, device, seed, 1)}, {"labels", labels.to(device)}};
}

Tensors for_layer_norm(const Size& size, Device device, std::uint64_t seed) {
  return {{"x", normal({size.rows, size.width}, device, seed, 1)},
          {"residual", normal({size.rows, size.width}, device, seed, 2)},
          {"dout", normal({size.rows, size.width}, device, seed, 3)},
          {"gamma", normal({size.width}, device, seed, 4)},
          {"beta", normal({size.width}, device, seed, 5)}};
}

// One position per sample, so that a sample is a row.
Tensors for_dropout(const Size& size, Device device, std::uint64_t seed) {
  return {{"x", normal({size.rows, 1, size.width}, device, seed, 1)},
          {"dout", normal({size.rows, 1, size.width}, device, seed, 2)},
          {"bias", normal({size.width}, device, seed, 3)},
          {"step", zeros({1}, kInt64, device)},
          {"samples", arange(size.rows, kInt64, device)}};
}

RandomState random_state(const Tensors& in) {
  return {.seed = 1, .stream = 2, .step = in.at("step"), .samples = in.at("samples")};
}

const RowOp kOps[] = {
    {"softmax", x_alone,
     [](const Tensors& in) {
       return Tensors{{"out", kernels::softmax(in.at("x"))}};
     },
     2},
    {"cross_entropy", for_cross_entropy,
     [](const Tensors& in) {
       const auto f = kernels::cross_entropy(in.at("x"), in.at("labels"), true);
       return Tensors{{"losses", f.losses}, {"dx", f.dlogits}};
     },
     2},
    {"layer_norm", for_layer_norm,
     [](const Tensors& in) {
       return Tensors{{"out", kernels::layer_norm(in.at("x"), in.at("gamma"), in.at("beta"), kEps).out}};
     },
     2},
    {"add_layer_norm", for_layer_norm,
     [](const Tensors& in) {
       const auto f = kernels::add_layer_norm(in.at("x"), in.at("residual"), in.at("gamma"), in.at("beta"), kEps);
       return Tensors{{"sum", f.sum}, {"out", f.out}};
     },
     4},
    {"bias_gelu_dropout", for_dropout,
     [](const Tensors& in) {
       return Tensors{{"out", kernels::bias_act_dropout(in.at("x"), in.at("bias"), kernels::Activation::gelu,
                                                        kProbability, random_state(in))}};
     },
     2},
    {"bias_gelu_dropout_backward", for_dropout,
     [](const Tensors& in) {
       return Tensors{{"dx", kernels::bias_act_dropout_grad(in.at("dout"), in.at("x"), in.at("bias"),
                                                            kernels::Activation::gelu, kProbability, random_state(in))
                                 .dx}};
     },
     3},
};

Case row_case(Device device, const RowOp& op, const Size& size) {
  const auto prepare = [=](std::uint64_t seed) {
    const Tensors in = op.inputs(size, device, seed);
    const auto got = std::make_shared<Tensors>();
    return Prepared{[=] { *got = op.results(in); }, [=] { return worst_error(op, in, *got); },
                    [=] {
                      Tensors all = in;
                      all.insert(got->begin(), got->end());
                      return all;
                    }};
  };
  return {.op = op.name,
          .shape = {{"rows", size.rows}, {"width", size.width}},
          .bytes = 4 * op.passes * static_cast<double>(size.rows) * static_cast<double>(size.width),
          .tolerance = tolerance_of(Precision::fp32, size.width),
          .prepare = prepare};
}

// The forward's statistics are made once, before anything is timed.
Case layer_norm_backward(Device device, const Size& size) {
  struct Set {
    Tensors in;
    kernels::LayerNorm norm;
    kernels::LayerNormGrads grads;
  };
  Case c = row_case(device, {"layer_norm_backward", for_layer_norm, nullptr, 3}, size);
  c.prepare = [=](std::uint64_t seed) {
    const auto set = std::make_shared<Set>();
    set->in = for_layer_norm(size, device, seed);
    set->norm = kernels::layer_norm(set->in.at("x"), set->in.at("gamma"), set->in.at("beta"), kEps);
    const auto error = [=] {
      const Index few = std::min<Index>(size.rows, 5);
      const Tensors part = some_rows(set->in, 0, few);
      const auto norm = kernels::layer_norm(part.at("x"), part.at("gamma"), part.at("beta"), kEps);
      const auto want = kernels::layer_norm_grad(part.at("dout"), part.at("x"), part.at("gamma"), norm.mean, norm.rstd);
      return error_of(set->grads.dx.slice(0, 0, few), want.dx);
    };
    return Prepared{[=] {
                      set->grads = kernels::layer_norm_grad(set->in.at("dout"), set->in.at("x"), set->in.at("gamma"),
                                                            set->norm.mean, set->norm.rstd);
                    },
                    error,
                    [=] {
                      Tensors all = set->in;
                      all.insert({{"dx", set->grads.dx}, {"dgamma", set->grads.dgamma}, {"dbeta", set->grads.dbeta}});
                      return all;
                    }};
  };
  return c;
}

}  // namespace

std::vector<Case> row_cases(Device device, bool tiny) {
  const std::vector<Size> sizes =
      tiny ? std::vector<Size>{{40, 72}} : std::vector<Size>{{65536, 64}, {65536, 128}, {65536, 512}, {32768, 1000}};
  std::vector<Case> cases;
  for (const Size& size : sizes) {
    for (const RowOp& op : kOps) cases.push_back(row_case(device, op, size));
    cases.push_back(layer_norm_backward(device, size));
  }
  return cases;
}

}  // namespace subquad::bench::gpu
