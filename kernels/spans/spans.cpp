#include "subquad/kernels/spans/spans.h"

#include <algorithm>

#include "subquad/core/check.h"

namespace subquad::kernels {

namespace {

// [1, S, 2] from pairs.
Tensor table(const std::vector<Index>& bounds) {
  return tensor(bounds, {1, static_cast<Index>(bounds.size() / 2), 2});
}

void append_blocks(Index positions, Index size, std::vector<Index>& bounds) {
  for (Index begin = 0; begin < positions; begin += size) bounds.insert(bounds.end(), {begin, begin + size});
}

}  // namespace

Tensor segment_spans(Index positions, Index size) {
  if (size < 1) throw Error(cat("segment_spans: size is ", size, ", expected at least 1"));
  std::vector<Index> bounds;
  append_blocks(positions, std::min(size, Index{1} << 40), bounds);  // far from where begin + size overflows
  return table(bounds);
}

Tensor level_spans(Index positions) {
  std::vector<Index> bounds;
  for (Index size = 2; size < positions; size *= 2) append_blocks(positions, size, bounds);
  return table(bounds);
}

Tensor spans_of_segments(const Tensor& starts) {
  check_rank("spans_of_segments", "starts", starts, 2);
  check_dtype("spans_of_segments", "starts", starts, kInt64);
  const Index batch = starts.dim(0), segments = starts.dim(1) - 1;
  const Tensor from = starts.contiguous();
  Tensor spans = empty({batch, segments, 2}, kInt64, kCpu);
  for (Index b = 0; b < batch; ++b)
    for (Index s = 0; s < segments; ++s)
      for (Index side = 0; side < 2; ++side)
        spans.data<Index>()[(b * segments + s) * 2 + side] = from.data<Index>()[b * (segments + 1) + s + side];
  return spans;
}

void check_spans(const char* op, const Tensor& spans, Index batch) {
  check_rank(op, "spans", spans, 3);
  check_dtype(op, "spans", spans, kInt64);
  check_contiguous(op, "spans", spans);
  check_on_cpu(op, "spans", spans);
  if (spans.dim(2) != 2 || (spans.dim(0) != 1 && spans.dim(0) != batch))
    throw ShapeError(cat(op, ": spans is ", describe(spans), ", expected [1 or ", batch, ", S, 2]"));
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

}  // namespace subquad::kernels
