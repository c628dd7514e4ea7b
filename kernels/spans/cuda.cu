#include "subquad/kernels/spans/cuda.h"

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/spans/table.cuh"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ Index thread_of_grid() {
  return Index{blockIdx.x} * kThreads + threadIdx.x;
}

// A thread per span, in all three: 16 bytes are written, the last one reads as many.
__global__ void segment_span_rows(Index size, Index count, Index* bounds) {
  const Index s = thread_of_grid();
  if (s >= count) return;
  bounds[2 * s] = s * size;
  bounds[2 * s + 1] = (s + 1) * size;
}

__global__ void level_span_rows(Index positions, Index count, Index* bounds) {
  const Index row = thread_of_grid();
  if (row >= count) return;
  Index s = row, size = 2;  // the span's number in its level
  for (; s >= (positions + size - 1) / size; size *= 2) s -= (positions + size - 1) / size;
  bounds[2 * row] = s * size;
  bounds[2 * row + 1] = (s + 1) * size;
}

__global__ void span_of_segment_rows(const Index* starts, Index segments, Index count, Index* bounds) {
  const Index row = thread_of_grid();
  if (row >= count) return;
  const Index start = row / segments * (segments + 1) + row % segments;
  bounds[2 * row] = starts[start];
  bounds[2 * row + 1] = starts[start + 1];
}

constexpr int kRunThreads = 1024;

// A block per table.
__global__ void span_run_tables(SpanTable spans, Index* runs) {
  SharedMemory shared;
  find_span_runs<kRunThreads>(spans, blockIdx.x, runs + blockIdx.x * (spans.count + 2), shared);
}

dim3 blocks_of_threads(const char* op, Index count) {
  return dim3(blocks_for(op, count, kThreads));
}

}  // namespace

void segment_spans(Index size, Tensor& spans) {
  const Index count = spans.dim(1);
  if (count == 0) return;
  launch(segment_span_rows, blocks_of_threads("segment_spans", count), dim3(kThreads), 0, current_stream(), size, count,
         spans.data<Index>());
}

void level_spans(Index positions, Tensor& spans) {
  const Index count = spans.dim(1);
  if (count == 0) return;
  launch(level_span_rows, blocks_of_threads("level_spans", count), dim3(kThreads), 0, current_stream(), positions,
         count, spans.data<Index>());
}

void spans_of_segments(const Tensor& starts, Tensor& spans) {
  const Index count = spans.size() / 2;
  if (count == 0) return;
  launch(span_of_segment_rows, blocks_of_threads("spans_of_segments", count), dim3(kThreads), 0, current_stream(),
         starts.data<Index>(), spans.dim(1), count, spans.data<Index>());
}

Tensor span_runs(const Tensor& spans) {
  if (SpanRuns::are_few(spans)) return {};
  Tensor runs = empty({spans.dim(0), spans.dim(1) + 2}, kInt64, spans.device());
  if (spans.dim(0) == 0) return runs;
  launch(span_run_tables, dim3(blocks_for("span_runs", spans.dim(0), 1)), dim3(kRunThreads),
         shared_size<int>(kRunThreads / kWarp + 1), current_stream(), SpanTable(spans), runs.data<Index>());
  return runs;
}

}  // namespace subquad::kernels::cuda
