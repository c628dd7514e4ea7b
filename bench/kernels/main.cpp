// Google Benchmark with the context that a figure needs to mean anything.
#include <benchmark/benchmark.h>

#include "subquad/core/error.h"
#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"
#include "subquad/kernels/blas/blas.h"
#include "subquad/kernels/peak/peak.h"

int main(int argc, char** argv) {
  using namespace subquad;
  flush_denormals();  // as training does
  benchmark::AddCustomContext("blas_core", kernels::blas_core_name());
  benchmark::AddCustomContext("simd", simd_target());
  benchmark::AddCustomContext("threads", cat(num_threads()));
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::AddCustomContext("fma_peak_float32_gflops", cat(kernels::fma_peak(kFloat32) * 1e-9));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
