// Kernels that read and write each row once. Counters: `bytes` per second of the inputs and outputs alone, and `roof`,
// their rate over that of a memcpy as large as the first input, timed turn by turn with the kernel. rows x width
// float32; 1024 x 64 lives in L2, 65536 x 64 (a batch of 32 samples of 2048 tokens) and 16384 x 256 do not.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <numbers>

#include "subquad/bench/kernels/against.h"
#include "subquad/core/parallel.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"
#include "subquad/kernels/cross_entropy/cross_entropy.h"
#include "subquad/kernels/layer_norm/layer_norm.h"
#include "subquad/kernels/softmax/softmax.h"

namespace subquad::bench {
namespace {

constexpr double kEps = 1e-5, kProbability = 0.1;

Tensor normal(const Shape& shape, std::uint64_t stream) {
  Tensor out = empty(shape, kFloat32, kCpu);
  fill_normal(out, 0, 1, 1, stream);
  return out;
}

using Row = std::vector<double>;

Row row_of(const Tensor& t, Index row) {
  const Index width = t.dim(-1);
  const float* from = t.data<float>() + row * width;
  return Row(from, from + width);
}

double mean_of(const Row& row, const std::function<double(double)>& f) {
  double sum = 0;
  for (const double v : row) sum += f(v) / static_cast<double>(row.size());
  return sum;
}

// Largest error of a few rows of `got` against those that `want` computes in double.
double worst_error(const Tensor& got, const std::function<Row(Index)>& want) {
  const Index rows = got.size() / got.dim(-1);
  double worst = 0;
  for (Index row = 0; row < rows; row += rows / 7 + 1) {
    const Row a = row_of(got, row), b = want(row);
    for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(a[i] - b[i]));
  }
  return worst;
}

// Times `run`, which moves `tensors` times the bytes of x.
template <class Run>
void measure(benchmark::State& state, double error, const Tensor& x, double tensors, Run&& run) {
  if (!(error < 2e-5)) return state.SkipWithError("wrong result");
  const auto size = static_cast<std::size_t>(x.size()) * sizeof(float);
  Tensor copied = empty_like(x);
  const Medians medians = run_against(
      state, num_threads(), [&] { benchmark::DoNotOptimize(run()); },
      [&] {
        std::memcpy(copied.bytes(), x.bytes(), size);
        benchmark::ClobberMemory();
      });
  const double bytes = tensors * static_cast<double>(size);
  state.counters["bytes"] = bytes / medians.ours;
  state.counters["roof"] = bytes / medians.ours / (2 * static_cast<double>(size) / medians.peer);
}

Row softmax_row(const Row& x) {
  Row out(x.size());
  const double sum = mean_of(x, [](double v) { return std::exp(v); }) * static_cast<double>(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = std::exp(x[i]) / sum;
  return out;
}

Row layer_norm_row(const Row& x, const Row& gamma, const Row& beta) {
  const double mean = mean_of(x, [](double v) { return v; });
  const double rstd = 1 / std::sqrt(mean_of(x, [&](double v) { return (v - mean) * (v - mean); }) + kEps);
  Row out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = (x[i] - mean) * rstd * gamma[i] + beta[i];
  return out;
}

void softmax(benchmark::State& state) {
  const Tensor x = normal({state.range(0), state.range(1)}, 1);
  const auto run = [&] { return kernels::softmax(x); };
  measure(state, worst_error(run(), [&](Index row) { return softmax_row(row_of(x, row)); }), x, 2, run);
}

void softmax_grad(benchmark::State& state) {
  const Tensor y = kernels::softmax(normal({state.range(0), state.range(1)}, 1)), dout = normal(y.shape(), 2);
  const auto run = [&] { return kernels::softmax_grad(dout, y); };
  const auto want = [&](Index row) {
    const Row p = row_of(y, row), up = row_of(dout, row);
    double dot = 0;
    for (std::size_t i = 0; i < p.size(); ++i) dot += p[i] * up[i];
    Row out(p.size());
    for (std::size_t i = 0; i < p.size(); ++i) out[i] = p[i] * (up[i] - dot);
    return out;
  };
  measure(state, worst_error(run(), want), y, 3, run);
}

void cross_entropy(benchmark::State& state) {
  const Tensor logits = normal({state.range(0), state.range(1)}, 1), labels = zeros({state.range(0)}, kInt64, kCpu);
  const auto run = [&] { return kernels::cross_entropy(logits, labels, true).dlogits; };
  const auto want = [&](Index row) {
    Row out = softmax_row(row_of(logits, row));
    out[0] -= 1;
    return out;
  };
  measure(state, worst_error(run(), want), logits, 2, run);
}

struct NormInputs {
  Tensor x, residual, dout, gamma, beta;
  explicit NormInputs(const benchmark::State& state)
      : x(normal({state.range(0), state.range(1)}, 1)),
        residual(normal(x.shape(), 2)),
        dout(normal(x.shape(), 3)),
        gamma(normal({state.range(1)}, 4)),
        beta(normal({state.range(1)}, 5)) {}
};

void layer_norm(benchmark::State& state) {
  const NormInputs in(state);
  const auto run = [&] { return kernels::layer_norm(in.x, in.gamma, in.beta, kEps).out; };
  const auto want = [&](Index row) {
    return layer_norm_row(row_of(in.x, row), row_of(in.gamma, 0), row_of(in.beta, 0));
  };
  measure(state, worst_error(run(), want), in.x, 2, run);
}

void add_layer_norm(benchmark::State& state) {
  const NormInputs in(state);
  const auto run = [&] { return kernels::add_layer_norm(in.x, in.residual, in.gamma, in.beta, kEps).out; };
  const auto want = [&](Index row) {
    Row sum = row_of(in.x, row);
    const Row more = row_of(in.residual, row);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
    return layer_norm_row(sum, row_of(in.gamma, 0), row_of(in.beta, 0));
  };
  measure(state, worst_error(run(), want), in.x, 4, run);
}

void layer_norm_grad(benchmark::State& state) {
  const NormInputs in(state);
  const kernels::LayerNorm norm = kernels::layer_norm(in.x, in.gamma, in.beta, kEps);
  const auto run = [&] { return kernels::layer_norm_grad(in.dout, in.x, in.gamma, norm.mean, norm.rstd).dx; };
  const auto want = [&](Index row) {
    const Row x = row_of(in.x, row), up = row_of(in.dout, row), gamma = row_of(in.gamma, 0);
    const double mean = norm.mean.data<float>()[row], rstd = norm.rstd.data<float>()[row];
    const auto width = static_cast<double>(x.size());
    double sum = 0, dot = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += up[i] * gamma[i] / width;
      dot += up[i] * gamma[i] * (x[i] - mean) * rstd / width;
    }
    Row out(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = rstd * (up[i] * gamma[i] - sum - (x[i] - mean) * rstd * dot);
    return out;
  };
  measure(state, worst_error(run(), want), in.x, 3, run);
}

// GELU in front of a dropout, or alone: the middle of a feed-forward block.
struct GeluInputs {
  Tensor x, bias, dout;
  double p;
  RandomState rng;

  explicit GeluInputs(const benchmark::State& state)
      : x(normal({1, state.range(0), state.range(1)}, 1)),
        bias(normal({state.range(1)}, 2)),
        dout(normal(x.shape(), 3)),
        p(state.range(2) != 0 ? kProbability : 0),
        rng{.seed = 1, .stream = 2, .step = zeros({1}, kInt64, kCpu), .samples = zeros({1}, kInt64, kCpu)} {}

  // factor * f(x + bias) of one row, with the dropout's factors word by word.
  Row row(Index index, const std::function<double(double)>& f) const {
    Row out = row_of(x, index);
    const Row shift = row_of(bias, 0);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const auto feature = static_cast<std::uint32_t>(i);
      const PhiloxCounter words =
          philox4x32({feature / 4, static_cast<std::uint32_t>(index), 0, 0}, philox_key(rng.seed, rng.stream));
      out[i] = uniform_float(words[feature % 4]) >= p ? f(out[i] + shift[i]) / (1 - p) : 0;
    }
    return out;
  }
};

void bias_gelu_dropout(benchmark::State& state) {
  const GeluInputs in(state);
  const auto run = [&] { return kernels::bias_act_dropout(in.x, in.bias, kernels::Activation::gelu, in.p, in.rng); };
  const auto want = [&](Index row) {
    return in.row(row, [](double z) { return z / 2 * std::erfc(-z / std::numbers::sqrt2); });
  };
  measure(state, worst_error(run(), want), in.x, 2, run);
}

void bias_gelu_dropout_grad(benchmark::State& state) {
  const GeluInputs in(state);
  const auto run = [&] {
    return kernels::bias_act_dropout_grad(in.dout, in.x, in.bias, kernels::Activation::gelu, in.p, in.rng).dx;
  };
  const auto want = [&](Index row) {
    Row out = in.row(row, [](double z) {
      return std::erfc(-z / std::numbers::sqrt2) / 2 + z * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
    });
    const Row up = row_of(in.dout, row);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] *= up[i];
    return out;
  };
  measure(state, worst_error(run(), want), in.x, 3, run);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "width"})->Unit(benchmark::kMillisecond)->UseManualTime();
  for (const auto& [rows, width] : {std::pair{1024, 64}, {65536, 64}, {32768, 128}, {16384, 256}, {4099, 1009}})
    bench->Args({rows, width});
}
BENCHMARK(softmax)->Apply(sizes);
BENCHMARK(softmax_grad)->Apply(sizes);
BENCHMARK(cross_entropy)->Apply(sizes)->Args({65536, 10});
BENCHMARK(layer_norm)->Apply(sizes);
BENCHMARK(add_layer_norm)->Apply(sizes);
BENCHMARK(layer_norm_grad)->Apply(sizes);

void sizes_with_dropout(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "width", "dropout"})->Unit(benchmark::kMillisecond)->UseManualTime();
  for (const int dropout : {0, 1})
    for (const auto& [rows, width] : {std::pair{1024, 64}, {65536, 64}, {32768, 128}, {16384, 256}, {4099, 1009}})
      bench->Args({rows, width, dropout});
}
BENCHMARK(bias_gelu_dropout)->Apply(sizes_with_dropout);
BENCHMARK(bias_gelu_dropout_grad)->Apply(sizes_with_dropout);

}  // namespace
}  // namespace subquad::bench
