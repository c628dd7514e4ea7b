// Our matmul beside a bare cblas_sgemm of the same OpenBLAS with the same kernels, which is also the goal: a ratio of
// at least 0.95 at 512^3 (name: matmul/M/N/K/threads). `roof` is the share of what the threads can multiply and add.
//
//   bench_kernels --benchmark_filter=matmul --benchmark_min_time=2
#include <benchmark/benchmark.h>
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "subquad/bench/kernels/against.h"
#include "subquad/core/parallel.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/blas/blas.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/peak/peak.h"

namespace subquad::bench {

namespace {

Tensor random(const Shape& shape, std::uint64_t seed) {
  Tensor out = empty(shape, kFloat32, kCpu);
  fill_normal(out, 0, 1, seed, stream_id("bench"));
  return out;
}

// Largest error against float64, in units of the rounding error that K products of order 1 may gather.
double error_of(const Tensor& out, const Tensor& a, const Tensor& b) {
  const Tensor exact = kernels::matmul(a.to(kFloat64), b.to(kFloat64)), got = out.to(kFloat64);
  double worst = 0;
  for (Index i = 0; i < exact.size(); ++i)
    worst = std::max(worst, std::fabs(got.data<double>()[i] - exact.data<double>()[i]));
  return worst / (0x1p-24 * 8 * std::sqrt(static_cast<double>(a.dim(-1))));
}

// a [M, K] x b [K, N]; with `left_transposed` a is the transpose of a [K, M], as in the gradient of a weight.
void compare(benchmark::State& state, bool left_transposed) {
  const Index m = state.range(0), n = state.range(1), k = state.range(2);
  const int threads = static_cast<int>(state.range(3)), before = num_threads();
  const Tensor stored = left_transposed ? random({k, m}, 1) : random({m, k}, 1);
  const Tensor a = left_transposed ? stored.transpose(0, 1) : stored, b = random({k, n}, 2);
  Tensor bare = empty({m, n}, kFloat32, kCpu);
  Tensor out = kernels::matmul(a, b);
  if (!(error_of(out, a, b) <= 8)) return state.SkipWithError("matmul is wrong");

  const auto sgemm = reinterpret_cast<decltype(&cblas_sgemm)>(kernels::blas_symbol("cblas_sgemm"));
  set_num_threads(threads);
  omp_set_num_threads(threads);
  const Medians medians = run_against(
      state, threads,
      [&] {
        out = Tensor();  // its block is used again, as in training
        out = kernels::matmul(a, b);
      },
      [&] {
        sgemm(CblasRowMajor, left_transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, static_cast<blasint>(m),
              static_cast<blasint>(n), static_cast<blasint>(k), 1, a.data<float>(),
              static_cast<blasint>(left_transposed ? m : k), b.data<float>(), static_cast<blasint>(n), 0,
              bare.data<float>(), static_cast<blasint>(n));
      });
  set_num_threads(before);
  omp_set_num_threads(before);
  const double gflop = 2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  state.counters["gflops"] = gflop / medians.ours;
  state.counters["roof"] = gflop * 1e9 / medians.ours / (threads * kernels::fma_peak(kFloat32));
}

void matmul(benchmark::State& state) {
  compare(state, false);
}
void matmul_grad_weight(benchmark::State& state) {
  compare(state, true);
}

BENCHMARK(matmul)
    ->ArgsProduct({{512}, {512}, {512}, {1, 2}})
    ->ArgsProduct({{256}, {256}, {256}, {1, 2}})
    ->ArgsProduct({{1024}, {1024}, {1024}, {1, 2}})
    ->ArgsProduct({{16384}, {64}, {64}, {1, 2}})
    ->ArgsProduct({{16384}, {512}, {128}, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(matmul_grad_weight)
    ->ArgsProduct({{64}, {64}, {16384}, {1, 2}})
    ->ArgsProduct({{128}, {512}, {16384}, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

}  // namespace subquad::bench
