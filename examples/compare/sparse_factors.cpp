#include "subquad/examples/compare/sparse_factors.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/chord_matmul.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/nn/optim/adamw.h"
#include "subquad/nn/schedule.h"

namespace subquad::compare {

namespace {

// Slot 0 is the row itself, slot k the offset 2^(k-1). Factor m takes the slots m + 1, m + 1 + M, ...: every offset
// stands in one factor, and those beyond log2 N begin as the identity.
nn::Init means_of_links(Index factors, Index links) {
  return [=](Tensor& out, std::uint64_t, std::uint64_t) {
    fill(out, 0);
    const auto w = out.view<float, 3>();
    for (Index m = 0; m < factors; ++m) {
      Index own = 1;
      for (Index slot = m + 1; slot < links; slot += factors) ++own;
      const float weight = 1 / static_cast<float>(own);
      for (Index i = 0; i < w.dim(1); ++i) {
        w(m, i, 0) = weight;
        for (Index slot = m + 1; slot < links; slot += factors) w(m, i, slot) = weight;
      }
    }
  };
}

// CDIL's slot 0 is the row itself, slot 1 the next one 2^m away.
nn::Init means_of_two(Index links) {
  return [=](Tensor& out, std::uint64_t, std::uint64_t) {
    fill(out, 0);
    for (Index slot = 0; slot < std::min<Index>(links, 2); ++slot) {
      Tensor column = out.select(2, slot);
      fill(column, 0.5);
    }
  };
}

// Factor m of CDIL looks 2^m positions far with each step.
std::vector<Links> cdil_chain(Index factors, Index links) {
  std::vector<Links> chain;
  for (Index m = 0; m < factors; ++m) chain.push_back(kernels::cdil_links(Index{1} << m, links));
  return chain;
}

class Factors : public nn::Module {
 public:
  Factors(std::uint64_t seed, Index positions, std::vector<Links> links, const nn::Init& init)
      : Module(nn::Place(seed, kFloat32, kCpu)),
        links_(std::move(links)),
        weights_(parameter("weights", {static_cast<Index>(links_.size()), positions, links_[0].count()}, init)) {}

  Variable operator()(const Tensor& values) const {  // [1, N, C] -> [1, N, C]
    return chord_chain(weights_, Variable(values), links_, MixResidual::none);
  }

 private:
  std::vector<Links> links_;
  Variable weights_;  // [M, N, L]
};

double squared_norm(const Tensor& a) {
  double sum = 0;
  for (const float x : a.span<float>()) sum += static_cast<double>(x) * x;
  return sum;
}

Tensor identity(Index size) {
  Tensor out = zeros({size, size}, kFloat32, kCpu);
  for (Index i = 0; i < size; ++i) out.data<float>()[i * size + i] = 1;
  return out;
}

}  // namespace

SparseFactors fit_sparse_factors(const Tensor& a, const FitOptions& options) {
  const Index positions = a.dim(0), whole = nn::factor_count(positions, nn::FactorRule::ceil);
  const Index factors = options.factors > 0 ? options.factors : whole;
  const bool cdil = options.links > 0;
  const Index links = cdil ? options.links : whole + 1;
  Factors model(options.seed, positions,
                cdil ? cdil_chain(factors, links)
                     : std::vector<Links>(static_cast<std::size_t>(factors), kernels::chord_links(links)),
                cdil ? means_of_two(links) : means_of_links(factors, links));
  nn::ParameterArena arena(model);
  nn::AdamW optimizer(arena, {.beta2 = 0.99});
  const double rate = options.rate > 0 ? options.rate : std::min(0.05, 0.2 / static_cast<double>(factors));
  const nn::Schedule schedule{.kind = nn::ScheduleKind::cosine, .rate = rate, .total = options.steps};
  const double scale = 1 / (squared_norm(a) * static_cast<double>(options.vectors));
  Tensor g = empty({1, positions, options.vectors}, kFloat32, kCpu);
  for (Index step = 0; step < options.steps; ++step) {
    fill_normal(g, 0, 1, options.seed, stream_id(cat("vectors", step)));
    const Tensor target = kernels::matmul(a, g.squeeze(0)).unsqueeze(0);
    const Variable loss = mul_scalar(sum(square(sub(model(g), Variable(target)))), scale);
    arena.zero_grad();
    backward(loss);
    optimizer.set_rate(schedule.at(step));
    optimizer.step();
  }
  const NoGrad no_grad;
  return {.matrix = model(identity(positions).unsqueeze(0)).value().squeeze(0), .factors = factors, .links = links};
}

}  // namespace subquad::compare
