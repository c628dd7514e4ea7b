// Fused softmax attention, forward and backward apart. Counters: `flops` per second of the products alone, and `roof`,
// its share of what the threads can multiply and add.
#include <benchmark/benchmark.h>

#include <cmath>

#include "subquad/core/rng.h"
#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/peak/peak.h"

namespace subquad::bench {
namespace {

using kernels::AttentionGrads;
using kernels::AttentionOutput;

struct AttentionCase {
  Index n, width;
  bool causal;
  Index batch = 2, heads = 2;

  kernels::AttentionOptions options() const { return {.causal = causal}; }
  double pairs() const {
    return static_cast<double>(batch * heads) * static_cast<double>(causal ? n * (n + 1) / 2 : n * n);
  }
  double forward_flops() const { return pairs() * static_cast<double>(4 * width); }
  double backward_flops() const { return pairs() * static_cast<double>(10 * width); }
};

struct Inputs {
  Tensor q, k, v, dout;

  explicit Inputs(const AttentionCase& c) {
    std::uint64_t stream = 0;
    for (Tensor* t : {&q, &k, &v, &dout}) {
      *t = empty({c.batch, c.n, c.heads, c.width}, kFloat32, kCpu).transpose(1, 2);  // as a projection leaves them
      Tensor flat = t->transpose(1, 2);
      fill_normal(flat, 0, 1, 1, ++stream);
    }
  }
};

// Weight of key j for query i, in double.
double weight(const AttentionCase& c, const Inputs& in, const AttentionOutput& f, Index i, Index j) {
  if (c.causal && j > i) return 0;
  const auto q = in.q.view<const float, 4>(), k = in.k.view<const float, 4>();
  double s = 0;
  for (Index e = 0; e < c.width; ++e) s += double{q(0, 0, i, e)} * k(0, 0, j, e);
  return std::exp(s / std::sqrt(static_cast<double>(c.width)) - f.lse.view<const float, 3>()(0, 0, i));
}

// Largest error of a few rows of out, against sums in double.
double forward_error(const AttentionCase& c, const Inputs& in, const AttentionOutput& f) {
  const auto v = in.v.view<const float, 4>(), out = f.out.view<const float, 4>();
  double worst = 0;
  for (Index i = 0; i < c.n; i += c.n / 7 + 1) {
    std::vector<double> want(static_cast<std::size_t>(c.width));
    double total = 0;
    for (Index j = 0; j < c.n; ++j) {
      const double p = weight(c, in, f, i, j);
      total += p;
      for (Index e = 0; e < c.width; ++e) want[static_cast<std::size_t>(e)] += p * v(0, 0, j, e);
    }
    worst = std::max(worst, std::fabs(total - 1));  // so lse is right, too
    for (Index e = 0; e < c.width; ++e)
      worst = std::max(worst, std::fabs(want[static_cast<std::size_t>(e)] - out(0, 0, i, e)));
  }
  return worst;
}

// The same for dv and dk of a few keys; dq is their mirror image and is tested elsewhere.
double backward_error(const AttentionCase& c, const Inputs& in, const AttentionOutput& f, const AttentionGrads& g) {
  const auto q = in.q.view<const float, 4>(), v = in.v.view<const float, 4>(), dout = in.dout.view<const float, 4>();
  const auto out = f.out.view<const float, 4>();
  double worst = 0;
  for (Index j = 0; j < c.n; j += c.n / 7 + 1) {
    std::vector<double> dk(static_cast<std::size_t>(c.width)), dv(static_cast<std::size_t>(c.width));
    for (Index i = 0; i < c.n; ++i) {
      const double p = weight(c, in, f, i, j);
      double ds = 0;
      for (Index e = 0; e < c.width; ++e) ds += double{dout(0, 0, i, e)} * (v(0, 0, j, e) - out(0, 0, i, e));
      ds *= p / std::sqrt(static_cast<double>(c.width));
      for (Index e = 0; e < c.width; ++e) {
        dk[static_cast<std::size_t>(e)] += ds * q(0, 0, i, e);
        dv[static_cast<std::size_t>(e)] += p * dout(0, 0, i, e);
      }
    }
    for (Index e = 0; e < c.width; ++e) {
      worst = std::max(worst, std::fabs(dk[static_cast<std::size_t>(e)] - g.dk.view<const float, 4>()(0, 0, j, e)));
      worst = std::max(worst, std::fabs(dv[static_cast<std::size_t>(e)] - g.dv.view<const float, 4>()(0, 0, j, e)));
    }
  }
  return worst;
}

AttentionCase case_of(const benchmark::State& state) {
  return {state.range(0), state.range(1), state.range(2) != 0};
}

void report(benchmark::State& state, double flops) {
  const double peak = kernels::fma_peak(kFloat32);
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["roof"] = benchmark::Counter(flops / peak, benchmark::Counter::kIsIterationInvariantRate);
}

void attention_forward(benchmark::State& state) {
  const AttentionCase c = case_of(state);
  const Inputs in(c);
  if (forward_error(c, in, kernels::attention(in.q, in.k, in.v, {}, c.options())) > 1e-5)
    return state.SkipWithError("wrong result");
  for (auto _ : state) benchmark::DoNotOptimize(kernels::attention(in.q, in.k, in.v, {}, c.options()).out);
  report(state, c.forward_flops());
}

void attention_backward(benchmark::State& state) {
  const AttentionCase c = case_of(state);
  const Inputs in(c);
  const AttentionOutput f = kernels::attention(in.q, in.k, in.v, {}, c.options());
  const auto grads = [&] { return kernels::attention_grad(in.dout, {}, in.q, in.k, in.v, f, {}, c.options()); };
  if (backward_error(c, in, f, grads()) > 1e-4) return state.SkipWithError("wrong result");
  for (auto _ : state) benchmark::DoNotOptimize(grads().dq);
  report(state, c.backward_flops());
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"n", "width", "causal"})->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime();
  for (const Index n : {128, 256, 1024, 4096})
    for (const Index width : {32, 64}) bench->Args({n, width, 0});
  bench->Args({2048, 32, 1});
}
BENCHMARK(attention_forward)->Apply(sizes);
BENCHMARK(attention_backward)->Apply(sizes);

}  // namespace
}  // namespace subquad::bench
