#include "subquad/kernels/spans/spans.h"

#include <algorithm>

#include "subquad/core/check.h"
#include "subquad/kernels/spans/cuda.h"

namespace subquad::kernels {

namespace {

Index ceil_div(Index a, Index b) {
  return (a + b - 1) / b;
}

// Writes the bounds of spans of `size` positions that cover all of them; returns where the next one goes.
Index* put_blocks(Index positions, Index size, Index* bounds) {
  for (Index begin = 0; begin < positions; begin += size) {
    *bounds++ = begin;
    *bounds++ = begin + size;
  }
  return bounds;
}

}  // namespace

Tensor segment_spans(Index positions, Index size, Device device) {
  if (size < 1) throw Error(cat("segment_spans: size is ", size, ", expected at least 1"));
  size = std::min(size, Index{1} << 40);  // far from where begin + size overflows
  Tensor spans = empty({1, ceil_div(positions, size), 2}, kInt64, device);
  on_device(
      device, [&](auto) { put_blocks(positions, size, spans.data<Index>()); },
      [&](auto) { cuda::segment_spans(size, spans); });
  return spans;
}

Tensor level_spans(Index positions, Device device) {
  Index count = 0;
  for (Index size = 2; size < positions; size *= 2) count += ceil_div(positions, size);
  Tensor spans = empty({1, count, 2}, kInt64, device);
  on_device(
      device,
      [&](auto) {
        Index* bounds = spans.data<Index>();
        for (Index size = 2; size < positions; size *= 2) bounds = put_blocks(positions, size, bounds);
      },
      [&](auto) { cuda::level_spans(positions, spans); });
  return spans;
}

Tensor spans_of_segments(const Tensor& starts) {
  check_rank("spans_of_segments", "starts", starts, 2);
  check_dtype("spans_of_segments", "starts", starts, kInt64);
  const Index batch = starts.dim(0), segments = starts.dim(1) - 1;
  const Tensor from = starts.contiguous();
  Tensor spans = empty({batch, segments, 2}, kInt64, starts.device());
  on_device(
      starts.device(),
      [&](auto) {
        for (Index b = 0; b < batch; ++b)
          for (Index s = 0; s < segments; ++s)
            for (Index side = 0; side < 2; ++side)
              spans.data<Index>()[(b * segments + s) * 2 + side] = from.data<Index>()[b * (segments + 1) + s + side];
      },
      [&](auto) { cuda::spans_of_segments(from, spans); });
  return spans;
}

void check_spans(const char* op, const Tensor& spans, Index batch) {
  check_rank(op, "spans", spans, 3);
  check_dtype(op, "spans", spans, kInt64);
  check_contiguous(op, "spans", spans);
  if (spans.dim(2) != 2 || (spans.dim(0) != 1 && spans.dim(0) != batch))
    throw ShapeError(cat(op, ": spans is ", describe(spans), ", expected [1 or ", batch, ", S, 2]"));
  if (!spans.device().is_cpu()) return;
  const Index* bounds = spans.data<Index>();
  for (Index s = 0; s < spans.dim(0) * spans.dim(1); ++s)
    if (bounds[2 * s] < 0 || bounds[2 * s + 1] < bounds[2 * s])
      throw Error(cat(op, ": span ", s % spans.dim(1), " of sample ", s / spans.dim(1), " is ", bounds[2 * s], " ... ",
                      bounds[2 * s + 1], ", expected 0 <= begin <= end"));
}

std::vector<std::pair<Index, Index>> disjoint_runs(const Tensor& spans, Index b) {
  const Index count = spans.dim(1);
  const Index* bounds = spans.data<Index>() + (spans.dim(0) == 1 ? 0 : b * count * 2);
  std::vector<std::pair<Index, Index>> runs;
  Index first = 0;
  for (Index s = 1; s <= count; ++s)
    if (s == count || bounds[2 * s] < bounds[2 * s - 1]) {
      runs.emplace_back(first, s);
      first = s;
    }
  return runs;
}

Span span_at(const Tensor& spans, Index b, Index s, Index positions) {
  const Index* bounds = spans.data<Index>() + 2 * ((spans.dim(0) == 1 ? 0 : b * spans.dim(1)) + s);
  return {std::min(bounds[0], positions), std::min(bounds[1], positions)};
}

double spanned_positions(const Tensor& spans, Index batch, Index positions) {
  if (!spans.device().is_cpu()) return 0;
  Index held = 0;
  for (Index b = 0; b < spans.dim(0); ++b)
    for (Index s = 0; s < spans.dim(1); ++s) {
      const Span span = span_at(spans, b, s, positions);
      held += span.end - span.begin;
    }
  return static_cast<double>(spans.dim(0) == 1 ? held * batch : held);
}

}  // namespace subquad::kernels
