#include "subquad/kernels/segments/segments.h"

#include "subquad/core/check.h"
#include "subquad/kernels/segments/cuda.h"

namespace subquad::kernels {
namespace {

void check_count(const char* op, Index segments) {
  if (segments < 1) throw Error(cat(op, ": segments is ", segments, ", expected at least 1"));
}

// [batch, segments + 1] where start(j) is alike for every sample; `launch` fills it on CUDA.
template <class OnCpu, class OnCuda>
Tensor same_for_all(const char* op, Index batch, Index positions, Index segments, Device device, const OnCpu& start,
                    const OnCuda& launch) {
  check_count(op, segments);
  if (batch < 0 || positions < 0)
    throw ShapeError(cat(op, ": ", batch, " samples of ", positions, " positions, expected none or more"));
  Tensor starts = empty({batch, segments + 1}, kInt64, device, op);
  on_device(
      device,
      [&](auto) {
        auto out = starts.view<Index, 2>();
        for (Index b = 0; b < batch; ++b)
          for (Index j = 0; j <= segments; ++j) out(b, j) = start(j);
      },
      [&](auto) { launch(starts); }, op);
  return starts;
}

void even_segments_of_real_on_cpu(const Mask& mask, RealSegments& cut) {
  const Index segments = cut.starts.dim(1) - 1, positions = mask.real.dim(1);
  auto out = cut.starts.view<Index, 2>();
  auto filled = cut.filled.real.view<bool, 2>();
  const auto real = mask.real.view<const bool, 2>();
  for (Index b = 0; b < cut.starts.dim(0); ++b) {
    const Index count = mask.lengths.data<Index>()[b];
    out(b, 0) = 0;
    Index i = 0, tokens_before = 0;  // of position i
    for (Index j = 1; j <= segments; ++j) {
      const Index first = j < segments ? even_start(count, segments, j) : count;  // the last one ends with the sample
      while (i < positions && (tokens_before < first || !real(b, i) || j == segments)) tokens_before += real(b, i++);
      out(b, j) = i;
      filled(b, j - 1) = j <= count;
    }
    cut.filled.lengths.data<Index>()[b] = std::min(count, segments);
    cut.covered.data<bool>()[b] = count <= segments;
  }
}

Mask filled_segments_on_cpu(const Tensor& starts, const Mask& mask) {
  Tensor filled = zeros({starts.dim(0), starts.dim(1) - 1}, kBool, starts.device());
  auto out = filled.view<bool, 2>();
  const auto start = starts.view<const Index, 2>();
  for (Index b = 0; b < filled.dim(0); ++b)
    for (Index j = 0; j < filled.dim(1); ++j)
      for (Index i = start(b, j); i < start(b, j + 1) && !out(b, j); ++i)
        out(b, j) = !mask.defined() || mask.real.view<const bool, 2>()(b, i);
  return Mask::from_bool(filled);
}

}  // namespace

Tensor even_segments(Index batch, Index positions, Index segments, Device device) {
  return same_for_all(
      "even_segments", batch, positions, segments, device, [&](Index j) { return even_start(positions, segments, j); },
      [&](auto& starts) { cuda::even_segments(positions, starts); });
}

Tensor segments_from_end(Index batch, Index positions, Index segments, Device device) {
  return same_for_all(
      "segments_from_end", batch, positions, segments, device,
      [&](Index j) { return start_from_end(positions, segments, j); },
      [&](auto& starts) { cuda::segments_from_end(positions, starts); });
}

RealSegments empty_real_segments(const Mask& mask, Index segments) {
  const Index batch = mask.real.dim(0);
  const Device device = mask.real.device();
  return {empty({batch, segments + 1}, kInt64, device),
          {empty({batch, segments}, kBool, device), empty({batch}, kInt64, device), true},
          empty({batch}, kBool, device)};
}

RealSegments even_segments_of_real(const Mask& mask, Index segments) {
  constexpr const char* kOp = "even_segments_of_real";
  check_count(kOp, segments);
  check_defined(kOp, "mask", mask.real);
  check_rank(kOp, "mask", mask.real, 2);
  check_mask(kOp, mask, mask.real.dim(0), mask.real.dim(1));
  check_same_device(kOp, "mask", mask.real, "the mask's lengths", mask.lengths);
  RealSegments cut = empty_real_segments(mask, segments);
  on_device(
      mask.real.device(), [&](auto) { even_segments_of_real_on_cpu(mask, cut); },
      [&](auto) { cuda::even_segments_of_real(mask, cut); });
  return cut;
}

Mask filled_segments(const Tensor& starts, const Mask& mask, Index positions) {
  constexpr const char* kOp = "filled_segments";
  check_rank(kOp, "starts", starts, 2);
  check_segments(kOp, starts, starts.dim(0), positions);
  check_mask(kOp, mask, starts.dim(0), positions);
  if (mask.defined()) check_same_device(kOp, "starts", starts, "mask", mask.real);
  return on_device(
      starts.device(), [&](auto) { return filled_segments_on_cpu(starts, mask); },
      [&](auto) {
        Mask filled{empty({starts.dim(0), starts.dim(1) - 1}, kBool, starts.device()),
                    empty({starts.dim(0)}, kInt64, starts.device()), false};
        cuda::filled_segments(starts, mask, positions, filled);
        return filled;
      });
}

void check_segments(const char* op, const Tensor& starts, Index batch, Index positions) {
  check_rank(op, "starts", starts, 2);
  check_dtype(op, "starts", starts, kInt64);
  check_contiguous(op, "starts", starts);
  if (starts.dim(0) != batch || starts.dim(1) < 2)
    throw ShapeError(cat(op, ": starts is ", describe(starts), ", expected [", batch, ", S + 1] with S >= 1 segments"));
  if (!starts.device().is_cpu()) return;
  const auto start = starts.view<const Index, 2>();
  const Index last = starts.dim(1) - 1;
  for (Index b = 0; b < batch; ++b) {
    if (start(b, 0) != 0 || start(b, last) != positions)
      throw Error(cat(op, ": starts of sample ", b, " go from ", start(b, 0), " to ", start(b, last),
                      ", expected from 0 to ", positions));
    for (Index j = 0; j < last; ++j)
      if (start(b, j) > start(b, j + 1))
        throw Error(cat(op, ": starts[", b, ", ", j + 1, "] is ", start(b, j + 1), ", expected at least ", start(b, j),
                        ", where the segment before it starts"));
  }
}

}  // namespace subquad::kernels
