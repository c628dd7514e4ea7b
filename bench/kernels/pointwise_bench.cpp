// Elementwise functions, reductions, picking by index and dropout on float32 [samples, positions, 128]. Counters:
// `bytes` per second of the inputs and outputs alone, and `roof`, their rate over that of a memcpy of the same tensor,
// timed turn by turn. 1 x 512 positions live in L2, 16 x 2048 do not.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "subquad/bench/kernels/against.h"
#include "subquad/core/parallel.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/embedding/embedding.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::bench {
namespace {

constexpr Index kWidth = 128;
constexpr Index kVocabulary = 17;
constexpr double kProbability = 0.1;

Tensor normal(const Shape& shape, std::uint64_t stream) {
  Tensor out = empty(shape, kFloat32, kCpu);
  fill_normal(out, 0, 1, 1, stream);
  return out;
}

struct Inputs {
  Tensor x, y, bias, ids, table, some;
  RandomState random;

  explicit Inputs(const Shape& shape)
      : x(normal(shape, 1)),
        y(normal(shape, 2)),
        bias(normal({kWidth}, 3)),
        ids(zeros({shape[0], shape[1]}, kInt64, kCpu)),
        table(normal({kVocabulary, kWidth}, 4)),
        some(kernels::less(x, y)),
        random{.seed = 1, .stream = 2, .step = zeros({1}, kInt64, kCpu), .samples = arange(shape[0], kInt64, kCpu)} {
    Rng rng(5);
    for (Index& id : ids.span<Index>()) id = rng.uniform() < 0.5 ? 0 : rng.below(kVocabulary);  // half is padding
  }
  double x_at(Index i) const { return x.data<float>()[i]; }
  double y_at(Index i) const { return y.data<float>()[i]; }

  // sum of x over the positions i, i + step, ...: `count` of them.
  double sum(Index i, Index step, Index count) const {
    double out = 0;
    for (Index r = 0; r < count; ++r) out += x_at(i + r * step);
    return out;
  }
};

double normal_cdf(double x) {
  return std::erfc(-x / std::sqrt(2.0)) / 2;
}

double gelu_slope(double x) {
  return normal_cdf(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
}

double dropped(const Inputs& in, Index i) {
  const auto feature = static_cast<std::uint32_t>(i % kWidth);
  const Index row = i / kWidth, positions = in.x.dim(1);
  const PhiloxCounter words = philox4x32(
      {feature / 4, static_cast<std::uint32_t>(row % positions), static_cast<std::uint32_t>(row / positions), 0},
      philox_key(in.random.seed, in.random.stream));
  return uniform_float(words[feature % 4]) >= kProbability ? in.x_at(i) / (1 - kProbability) : 0;
}

// dtable[v, f] of dout = x.
double table_gradient(const Inputs& in, Index i) {
  double out = 0;
  for (Index place = 0; place < in.ids.size(); ++place)
    if (in.ids.data<Index>()[place] == i / kWidth) out += in.x_at(place * kWidth + i % kWidth);
  return out;
}

struct Case {
  double tensors;  // how many times the bytes of x are read and written
  Tensor (*run)(const Inputs&);
  double (*want)(const Inputs&, Index);  // one element of the result
};

const Case kAdd = {3, [](const Inputs& in) { return kernels::add(in.x, in.y); },
                   [](const Inputs& in, Index i) { return in.x_at(i) + in.y_at(i); }};
const Case kAddBias = {2, [](const Inputs& in) { return kernels::add(in.x, in.bias); },
                       [](const Inputs& in, Index i) { return in.x_at(i) + in.bias.data<float>()[i % kWidth]; }};
const Case kMulScalar = {2, [](const Inputs& in) { return kernels::mul_scalar(in.x, 0.7); },
                         [](const Inputs& in, Index i) { return in.x_at(i) * 0.7; }};
const Case kWhere = {3.25, [](const Inputs& in) { return kernels::where(in.some, in.x, in.y); },
                     [](const Inputs& in, Index i) { return std::min(in.x_at(i), in.y_at(i)); }};
const Case kExp = {2, [](const Inputs& in) { return kernels::exp(in.x); },
                   [](const Inputs& in, Index i) { return std::exp(in.x_at(i)); }};
const Case kTanh = {2, [](const Inputs& in) { return kernels::tanh(in.x); },
                    [](const Inputs& in, Index i) { return std::tanh(in.x_at(i)); }};
const Case kGelu = {2, [](const Inputs& in) { return kernels::gelu(in.x); },
                    [](const Inputs& in, Index i) { return in.x_at(i) * normal_cdf(in.x_at(i)); }};
const Case kGeluGrad = {3, [](const Inputs& in) { return kernels::gelu_grad(in.y, in.x); },
                        [](const Inputs& in, Index i) { return in.y_at(i) * gelu_slope(in.x_at(i)); }};
const Case kSumAll = {1, [](const Inputs& in) { return kernels::sum(in.x); },
                      [](const Inputs& in, Index i) { return in.sum(i, 1, in.x.size()); }};
const Case kSumFeatures = {1, [](const Inputs& in) { return kernels::sum(in.x, {2}); },
                           [](const Inputs& in, Index i) { return in.sum(i * kWidth, 1, kWidth); }};
const Case kSumPositions = {1, [](const Inputs& in) { return kernels::sum(in.x, {1}); },
                            [](const Inputs& in, Index i) {
                              return in.sum(i / kWidth * in.x.dim(1) * kWidth + i % kWidth, kWidth, in.x.dim(1));
                            }};
const Case kSumRows = {1,
                       [](const Inputs& in) {
                         return kernels::sum(in.x, {0, 1});
                       },
                       [](const Inputs& in, Index i) { return in.sum(i, kWidth, in.x.size() / kWidth); }};
const Case kDropout = {2, [](const Inputs& in) { return kernels::dropout(in.x, kProbability, in.random); }, dropped};
const Case kEmbedding = {
    1, [](const Inputs& in) { return kernels::embedding(in.table, in.ids); },
    [](const Inputs& in, Index i) {
      return double{in.table.data<float>()[in.ids.data<Index>()[i / kWidth] * kWidth + i % kWidth]};
    }};
const Case kEmbeddingGrad = {1, [](const Inputs& in) { return kernels::embedding_grad(in.x, in.ids, kVocabulary); },
                             table_gradient};

// Relative to max(1, |want|), over some thirty elements.
double worst_error(const Case& c, const Inputs& in) {
  const Tensor got = c.run(in);
  double worst = 0;
  for (Index i = 0; i < got.size(); i += got.size() / 31 + 1) {
    const double want = c.want(in, i);
    worst = std::max(worst, std::fabs(got.data<float>()[i] - want) / std::max(1.0, std::fabs(want)));
  }
  return worst;
}

void pointwise(benchmark::State& state, const Case& c) {
  const Inputs in({state.range(0), state.range(1), kWidth});
  if (!(worst_error(c, in) < 1e-4)) return state.SkipWithError("wrong result");
  const auto size = static_cast<std::size_t>(in.x.size()) * sizeof(float);
  Tensor copied = empty_like(in.x);
  const Medians medians = run_against(
      state, num_threads(), [&] { benchmark::DoNotOptimize(c.run(in)); },
      [&] {
        std::memcpy(copied.bytes(), in.x.bytes(), size);
        benchmark::ClobberMemory();
      });
  const double bytes = c.tensors * static_cast<double>(size);
  state.counters["bytes"] = bytes / medians.ours;
  state.counters["roof"] = bytes / medians.ours / (2 * static_cast<double>(size) / medians.peer);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"samples", "positions"})->Unit(benchmark::kMillisecond)->UseManualTime();
  bench->Args({1, 512})->Args({16, 2048});
}
BENCHMARK_CAPTURE(pointwise, add, kAdd)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, add_bias, kAddBias)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, mul_scalar, kMulScalar)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, where, kWhere)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, exp, kExp)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, tanh, kTanh)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, gelu, kGelu)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, gelu_grad, kGeluGrad)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, sum_all, kSumAll)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, sum_features, kSumFeatures)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, sum_positions, kSumPositions)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, sum_rows, kSumRows)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, dropout, kDropout)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, embedding, kEmbedding)->Apply(sizes);
BENCHMARK_CAPTURE(pointwise, embedding_grad, kEmbeddingGrad)->Apply(sizes);

}  // namespace
}  // namespace subquad::bench
