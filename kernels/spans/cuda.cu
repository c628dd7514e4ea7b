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
constexpr Index kRunSpans = 4 * kRunThreads;  // of a block

// How many blocks go over a sample's spans.
__host__ __device__ Index run_blocks(Index count) {
  return count == 0 ? 1 : (count + kRunSpans - 1) / kRunSpans;
}

// A block counts the runs that begin in its spans.
__global__ void span_run_counts(SpanTable spans, Index* counts) {
  SharedMemory shared;
  const Index blocks = run_blocks(spans.count), b = blockIdx.x / blocks, first = blockIdx.x % blocks * kRunSpans;
  const Index last = first + kRunSpans < spans.count ? first + kRunSpans : spans.count;
  const Index found = find_span_runs<kRunThreads>(spans, b, first, last, 0, nullptr, shared);
  if (threadIdx.x == 0) counts[blockIdx.x] = found;
}

// A block adds up what the blocks before it have counted, and writes its own runs; the last one closes the table.
__global__ void span_run_tables(SpanTable spans, const Index* counts, Index* runs) {
  SharedMemory shared;
  const Index blocks = run_blocks(spans.count), b = blockIdx.x / blocks, own = blockIdx.x % blocks;
  const Index first = own * kRunSpans, last = first + kRunSpans < spans.count ? first + kRunSpans : spans.count;
  Index before = 0;
  for (Index block = threadIdx.x; block < own; block += kRunThreads) before += counts[b * blocks + block];
  before = block_sum(before, shared.take<Index>(kRunThreads / kWarp));
  Index* const table = runs + b * (spans.count + 2);
  const Index found = find_span_runs<kRunThreads>(spans, b, first, last, before, table + 1, shared);
  if (own + 1 < blocks || threadIdx.x > 0) return;
  table[0] = found;
  table[1 + found] = spans.count;
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
  const Index blocks = run_blocks(spans.dim(1));
  const dim3 grid(blocks_for("span_runs", spans.dim(0) * blocks, 1)), block(kRunThreads);
  constexpr std::size_t kBytes = shared_size<int>(kRunThreads / kWarp + 1) + shared_size<Index>(kRunThreads / kWarp);
  Tensor counts;
  if (blocks > 1) {
    counts = empty({spans.dim(0), blocks}, kInt64, spans.device());
    launch(span_run_counts, grid, block, kBytes, current_stream(), SpanTable(spans), counts.data<Index>());
  }
  const Index* const counted = counts.defined() ? counts.data<Index>() : nullptr;
  launch(span_run_tables, grid, block, kBytes, current_stream(), SpanTable(spans), counted, runs.data<Index>());
  return runs;
}

}  // namespace subquad::kernels::cuda
